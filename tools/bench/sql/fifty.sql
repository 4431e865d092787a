\set project random(1, :projects)
\set status random(1, 4)
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY id LIMIT 51;
