-- How far each consumer of the events has come, in the order of (xid, id). The row "swept" is where the events begin
-- that are still kept.
CREATE TABLE event_positions (
    consumer text        PRIMARY KEY,
    xid      xid8        NOT NULL,
    id       bigint      NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now()
);

-- The names of the fields that an update changed, and the users whom the event concerns.
ALTER TABLE events ADD COLUMN changed text[], ADD COLUMN audience bigint[];

CREATE INDEX events_project ON events (project_id, xid, id);
CREATE INDEX events_audience ON events USING gin (audience);
