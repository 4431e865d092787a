-- Enums are the numbers of tasks.v1: status 1 todo, 2 in progress, 3 done, 4 cancelled; priority 1 none, 2 low,
-- 3 medium, 4 high, 5 urgent. Projects and users are in other databases: project_id, assignee_id, creator_id and
-- author_id are checked by the service.

-- The last number given to a task of each project. Its row is also the lock under which parents are chosen: two tasks
-- that become each other's parent at once are seen one after the other.
CREATE TABLE counters (
    project_id  bigint PRIMARY KEY,
    last_number bigint NOT NULL CONSTRAINT counters_last_number_check CHECK (last_number > 0)
);

-- The index on id alone is a hash, here and below: a btree has an order, and Postgres, which knows nothing of how the
-- projects lie in it, would walk it for a list by id and pass over the rows of all other projects. An identity that is
-- always generated is unique without it.
CREATE TABLE tasks (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    version      bigint      NOT NULL DEFAULT 1 CONSTRAINT tasks_version_check CHECK (version > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz,
    project_id   bigint      NOT NULL,
    number       bigint      NOT NULL CONSTRAINT tasks_number_check CHECK (number > 0),
    title        text        NOT NULL CONSTRAINT tasks_title_check CHECK (char_length(title) BETWEEN 1 AND 500),
    description  text        NOT NULL DEFAULT ''
        CONSTRAINT tasks_description_check CHECK (char_length(description) <= 50000),
    status       smallint    NOT NULL CONSTRAINT tasks_status_check CHECK (status BETWEEN 1 AND 4),
    priority     smallint    NOT NULL CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 1 AND 5),
    labels       text[]      NOT NULL DEFAULT '{}' CONSTRAINT tasks_labels_check CHECK (cardinality(labels) <= 20),
    assignee_id  bigint,
    creator_id   bigint      NOT NULL,
    -- Stays when the parent is deleted, so that restoring the parent restores the tree.
    parent_id    bigint      CONSTRAINT tasks_parent_id_check CHECK (parent_id <> id),
    due_date     date        CONSTRAINT tasks_due_date_check CHECK (due_date BETWEEN '0001-01-01' AND '9999-12-31'),
    position     text        COLLATE "C" NOT NULL CONSTRAINT tasks_position_check CHECK (position <> ''),
    completed_at timestamptz,
    -- Words end at these characters as they do in what is searched for: "v1.2" is found by "v1", "<b>" by "b".
    search       tsvector    NOT NULL GENERATED ALWAYS AS (to_tsvector('simple',
        translate(title || ' ' || description, '.,:;/_@+-~#%=&<>', repeat(' ', 16)))) STORED,
    CONSTRAINT tasks_completed_at_check CHECK ((status = 3) = (completed_at IS NOT NULL)),
    CONSTRAINT tasks_number_key UNIQUE (project_id, number),
    PRIMARY KEY (project_id, id),
    CONSTRAINT tasks_parent_id_fkey FOREIGN KEY (project_id, parent_id) REFERENCES tasks (project_id, id)
);

CREATE INDEX tasks_id ON tasks USING hash (id);
-- The orders of a project's tasks; by id it is the primary key.
CREATE INDEX tasks_number ON tasks (project_id, number, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_title ON tasks (project_id, title, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_priority ON tasks (project_id, priority, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_due_date ON tasks (project_id, coalesce(due_date, 'infinity'), id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_position ON tasks (project_id, position, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_created_at ON tasks (project_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_updated_at ON tasks (project_id, updated_at, id) WHERE deleted_at IS NULL;
-- The filters that are no orders. People are looked for across projects too, so they come first.
CREATE INDEX tasks_status ON tasks (project_id, status, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_parent_id ON tasks (project_id, parent_id, id);
CREATE INDEX tasks_below ON tasks (parent_id, id) WHERE parent_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX tasks_assignee_id ON tasks (assignee_id, project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_creator_id ON tasks (creator_id, project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX tasks_labels ON tasks USING gin (labels) WHERE deleted_at IS NULL;
CREATE INDEX tasks_search ON tasks USING gin (search) WHERE deleted_at IS NULL;

-- project_id is the task's, which never changes, so that access to a comment needs no other table.
CREATE TABLE comments (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    version    bigint      NOT NULL DEFAULT 1 CONSTRAINT comments_version_check CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    project_id bigint      NOT NULL,
    task_id    bigint      NOT NULL,
    author_id  bigint      NOT NULL,
    body       text        NOT NULL CONSTRAINT comments_body_check CHECK (char_length(body) BETWEEN 1 AND 20000),
    PRIMARY KEY (project_id, task_id, id),
    CONSTRAINT comments_task_id_fkey FOREIGN KEY (project_id, task_id) REFERENCES tasks (project_id, id)
);

CREATE INDEX comments_id ON comments USING hash (id);
-- The orders of a task's comments, of a project's, and of one author's; a task's by id are the primary key.
CREATE INDEX comments_task_created_at ON comments (project_id, task_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_task_updated_at ON comments (project_id, task_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_project_id ON comments (project_id, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_created_at ON comments (project_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_updated_at ON comments (project_id, updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX comments_author_id ON comments (author_id, project_id, id) WHERE deleted_at IS NULL;
