-- Enums are the numbers of projects.v1: visibility 1 private, 2 public; role 1 viewer, 2 commenter, 3 member,
-- 4 admin, 5 owner. Users are in another database: owner_id and user_id are checked by the service.
CREATE TABLE projects (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     bigint      NOT NULL DEFAULT 1 CONSTRAINT projects_version_check CHECK (version > 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz,
    name        text        NOT NULL CONSTRAINT projects_name_check CHECK (char_length(name) BETWEEN 1 AND 200),
    description text        NOT NULL DEFAULT ''
        CONSTRAINT projects_description_check CHECK (char_length(description) <= 10000),
    visibility  smallint    NOT NULL CONSTRAINT projects_visibility_check CHECK (visibility IN (1, 2)),
    owner_id    bigint      NOT NULL,
    archived_at timestamptz,
    -- Words end at these characters as they do in what is searched for: "v1.2" is found by "v1".
    search      tsvector    NOT NULL GENERATED ALWAYS AS (to_tsvector('simple',
        translate(name || ' ' || description, '.,:;/_@+-~#%=&<>', repeat(' ', 16)))) STORED
);

-- A member's own projects come by members_user_id; these serve the list of public ones.
CREATE INDEX projects_public_id ON projects (id) WHERE visibility = 2 AND deleted_at IS NULL;
CREATE INDEX projects_public_name ON projects (name, id) WHERE visibility = 2 AND deleted_at IS NULL;
CREATE INDEX projects_public_created_at ON projects (created_at, id) WHERE visibility = 2 AND deleted_at IS NULL;
CREATE INDEX projects_public_updated_at ON projects (updated_at, id) WHERE visibility = 2 AND deleted_at IS NULL;
CREATE INDEX projects_owner_id ON projects (owner_id);
CREATE INDEX projects_search ON projects USING gin (search) WHERE deleted_at IS NULL;

CREATE TABLE members (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version    bigint      NOT NULL DEFAULT 1 CONSTRAINT members_version_check CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    project_id bigint      NOT NULL CONSTRAINT members_project_id_fkey REFERENCES projects,
    user_id    bigint      NOT NULL,
    role       smallint    NOT NULL CONSTRAINT members_role_check CHECK (role BETWEEN 1 AND 5),
    CONSTRAINT members_user_id_key UNIQUE (project_id, user_id)
);

-- A project has one owner.
CREATE UNIQUE INDEX members_owner_key ON members (project_id) WHERE role = 5;
CREATE INDEX members_user_id ON members (user_id, project_id);
CREATE INDEX members_project_id ON members (project_id, id);
CREATE INDEX members_project_role ON members (project_id, role, id);
CREATE INDEX members_project_created_at ON members (project_id, created_at, id);
