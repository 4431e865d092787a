-- The ends of each project's board: the places given to the task in front of all others and to the one behind them.
-- Between them positions are fractions. The counter's row is the lock under which a project's positions are given.
ALTER TABLE counters ADD COLUMN first_place bigint NOT NULL DEFAULT 1, ADD COLUMN last_place bigint NOT NULL DEFAULT 0;
UPDATE counters SET last_place = last_number;

-- Deleted tasks keep their places, so that restoring one never finds its place taken.
CREATE UNIQUE INDEX tasks_position_key ON tasks (project_id, position);

-- The trash, in the orders in which it is read most.
CREATE INDEX tasks_trash_id ON tasks (project_id, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX tasks_trash_deleted_at ON tasks (project_id, deleted_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX comments_trash_task ON comments (project_id, task_id, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX comments_trash_id ON comments (project_id, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX comments_trash_deleted_at ON comments (project_id, deleted_at, id) WHERE deleted_at IS NOT NULL;
