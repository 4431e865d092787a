\set id random(1, :tasks)
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE id = :id AND deleted_at IS NULL;
