-- What happened, in the words of the change itself. A reader goes by (xid, id) and reads only below
-- pg_snapshot_xmin(pg_current_snapshot()): a lower id may commit after a higher one, but no transaction below that
-- line is still in flight.
CREATE TABLE events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    type        text        NOT NULL CONSTRAINT events_type_check CHECK (type ~ '^[a-z]+\.[a-z]+$'),
    subject_id  bigint      NOT NULL,
    project_id  bigint,
    actor_id    bigint,
    version     bigint      NOT NULL,
    payload     bytea       NOT NULL,
    traceparent text
);

CREATE INDEX events_order ON events (xid, id);
CREATE INDEX events_subject ON events (type, subject_id, version);
