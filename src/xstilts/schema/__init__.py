"""The parts of the schema that steps themselves read; `xstilts.config` puts them together."""
