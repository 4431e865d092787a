-- Mails that are still to be sent; one that was sent is gone, for it may hold a link that opens something.
CREATE TABLE mails (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    recipient  text        NOT NULL,
    subject    text        NOT NULL,
    body       text        NOT NULL,
    -- When nobody has use for it any more.
    expires_at timestamptz NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX mails_next_at ON mails (next_at);
CREATE INDEX mails_expires_at ON mails (expires_at);
