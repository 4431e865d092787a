ALTER TABLE projects ADD COLUMN require_if_match boolean NOT NULL DEFAULT false;

-- The trash, in the orders in which it is read most.
CREATE INDEX projects_trash_id ON projects (owner_id, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX projects_trash_deleted_at ON projects (owner_id, deleted_at, id) WHERE deleted_at IS NOT NULL;

-- The index on id alone becomes a hash: a btree has an order, and Postgres, which knows nothing of how the projects lie
-- in it, would walk it for a list of one project's members and pass over all others.
ALTER TABLE members DROP CONSTRAINT members_pkey, ADD PRIMARY KEY (project_id, id);
DROP INDEX members_project_id;
CREATE INDEX members_id ON members USING hash (id);
