-- What has been in the trash for longest, in all projects. Few rows are there, so that the other writes do not feel them.
-- Nobody writes while the tables are read for them: some seconds for each ten million rows.
CREATE INDEX tasks_deleted_at ON tasks (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX comments_deleted_at ON comments (deleted_at) WHERE deleted_at IS NOT NULL;
