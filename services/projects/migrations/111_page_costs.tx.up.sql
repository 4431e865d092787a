-- Every order of the trash, and of the members with one role, is that of an index: a page costs the same, however deep.
CREATE INDEX projects_trash_name ON projects (owner_id, name, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX projects_trash_created_at ON projects (owner_id, created_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX projects_trash_updated_at ON projects (owner_id, updated_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX members_project_role_created_at ON members (project_id, role, created_at, id);
