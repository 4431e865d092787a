\set project random(1, :projects)
\set status random(1, 4)
\set order random(1, 6)
\if :order = 1
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY id LIMIT 51;
\elif :order = 2
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY id DESC LIMIT 51;
\elif :order = 3
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 51;
\elif :order = 4
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY priority, id LIMIT 51;
\elif :order = 5
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY coalesce(due_date, 'infinity'), id LIMIT 51;
\elif :order = 6
SELECT id, version, created_at, updated_at, project_id, number, title, description, status, priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at FROM tasks WHERE project_id = :project AND status = :status AND deleted_at IS NULL ORDER BY updated_at DESC, id DESC LIMIT 51;
\endif
