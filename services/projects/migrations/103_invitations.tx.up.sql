-- Invitations that were mailed. What is stored of a link is the SHA-256 of the 256 random bits in it. One is open until it
-- is accepted or revoked, or its time is over; an address has one open invitation to a project.
CREATE TABLE invitations (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    version     bigint      NOT NULL DEFAULT 1 CONSTRAINT invitations_version_check CHECK (version > 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    project_id  bigint      NOT NULL CONSTRAINT invitations_project_id_fkey REFERENCES projects,
    email       text        NOT NULL CONSTRAINT invitations_email_check CHECK (char_length(email) BETWEEN 3 AND 254),
    role        smallint    NOT NULL CONSTRAINT invitations_role_check CHECK (role BETWEEN 1 AND 4),
    inviter_id  bigint      NOT NULL,
    hash        bytea       NOT NULL CONSTRAINT invitations_hash_check CHECK (length(hash) = 32),
    accepted_at timestamptz,
    accepted_by bigint,
    revoked_at  timestamptz,
    PRIMARY KEY (project_id, id),
    CONSTRAINT invitations_hash_key UNIQUE (hash),
    CONSTRAINT invitations_end_check CHECK (accepted_at IS NULL OR revoked_at IS NULL),
    CONSTRAINT invitations_accepted_check CHECK ((accepted_at IS NULL) = (accepted_by IS NULL))
);

CREATE UNIQUE INDEX invitations_open_key ON invitations (project_id, lower(email))
    WHERE accepted_at IS NULL AND revoked_at IS NULL;
-- For the limits.
CREATE INDEX invitations_inviter_id ON invitations (inviter_id, created_at);
CREATE INDEX invitations_email ON invitations (lower(email), created_at);
