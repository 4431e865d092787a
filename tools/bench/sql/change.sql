\set id random(1, :tasks)
\set status random(1, 4)
BEGIN;
UPDATE tasks SET status = :status, completed_at = CASE WHEN :status = 3 THEN now() END, version = version + 1, updated_at = now() WHERE id = :id;
INSERT INTO events (type, subject_id, project_id, actor_id, version, payload) VALUES ('task.updated', :id, 1, 1, 2, 'what the task is after the change');
COMMIT;
