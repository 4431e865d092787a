-- The slow hash of the password that came with the write; empty when none did.
ALTER TABLE idempotency_keys ADD COLUMN seal text NOT NULL DEFAULT '';
