-- One row: whether answers that depend on this service may be kept. A writer that can not reach Redis suspends that, and
-- locks the row until it has committed; see platform/cache/lease.go.
CREATE TABLE cache_suspension (
    one   boolean     PRIMARY KEY DEFAULT true CONSTRAINT cache_suspension_one_check CHECK (one),
    since timestamptz, -- when it was known to have begun
    until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO cache_suspension DEFAULT VALUES;
