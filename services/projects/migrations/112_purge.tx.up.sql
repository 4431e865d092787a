-- What has been in the trash for longest, whoever owned it.
CREATE INDEX projects_deleted_at ON projects (deleted_at) WHERE deleted_at IS NOT NULL;

-- The projects that were purged, for services that have something of theirs: that a project is not found proves nothing.
CREATE TABLE purged_projects (
    id        bigint PRIMARY KEY,
    purged_at timestamptz NOT NULL DEFAULT now()
);
