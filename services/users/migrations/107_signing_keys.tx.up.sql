-- The keys that sign access tokens, by their public halves: what one replica has in its files, all publish, and since when it
-- is known decides when it may sign.
CREATE TABLE signing_keys (
    id      text        PRIMARY KEY,
    public  bytea       NOT NULL CONSTRAINT signing_keys_public_check CHECK (length(public) = 32),
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- When a replica last had it.
    held_at timestamptz NOT NULL DEFAULT now()
);
