package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rowsServe is the second of two hops: raw pgx, no rule; by net/http JSON and no cache, by gRPC messages and one look into Redis.
type rowsServe struct {
	Users    string `required:""`
	Projects string `required:""`
	Tasks    string `required:""`
	Redis    string `required:""`
}

// hops are where rowsServe answers.
type hops struct {
	HTTP string `json:"http"`
	RPC  string `json:"rpc"`
}

// rowTask is a task as it is sent.
type rowTask struct {
	ID          int64      `json:"id"`
	Version     int64      `json:"version"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	ProjectID   int64      `json:"project_id"`
	Number      int64      `json:"number"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Status      int16      `json:"status"`
	Completed   bool       `json:"completed"`
	Priority    int16      `json:"priority"`
	Labels      []string   `json:"labels"`
	AssigneeID  *int64     `json:"assignee_id"`
	CreatorID   int64      `json:"creator_id"`
	ParentID    *int64     `json:"parent_id"`
	DueDate     *time.Time `json:"due_date"`
	Position    string     `json:"position"`
	CompletedAt *time.Time `json:"completed_at"`
	DeletedAt   *time.Time `json:"deleted_at"`
}

const taskColumns = `id, version, created_at, updated_at, project_id, number, title, description, status, status = 3 AS completed,
	priority, labels, assignee_id, creator_id, parent_id, due_date, position, completed_at, deleted_at`

// The statements of the floors; pgbench runs those of the files in sql/.
const (
	sqlTask = "SELECT " + taskColumns + " FROM tasks WHERE id = $1 AND deleted_at IS NULL"
	sqlPage = "SELECT " + taskColumns + " FROM tasks WHERE project_id = $1 AND status = $2 AND deleted_at IS NULL ORDER BY %s LIMIT 51"
	sqlDeep = "SELECT " + taskColumns + " FROM tasks WHERE project_id = $1 AND id > $2 AND deleted_at IS NULL ORDER BY id LIMIT 51"

	sqlNumber = "UPDATE counters SET last_number = last_number + 1, last_place = last_place + 1 WHERE project_id = $1 RETURNING last_number"
	sqlCreate = "INSERT INTO tasks (project_id, number, title, description, status, priority, creator_id, position) " +
		"VALUES ($1, $2, $3, $4, 1, 1, $5, $6) RETURNING " + taskColumns
	sqlChange = "UPDATE tasks SET status = $2::smallint, completed_at = CASE WHEN $2::smallint = 3 THEN now() END, version = version + 1, updated_at = now() " +
		"WHERE id = $1 RETURNING " + taskColumns
	sqlEvent = "INSERT INTO events (type, subject_id, project_id, actor_id, version, payload) VALUES ($1, $2, $3, 1, $4, $5)"

	sqlProjects = "SELECT p.id, p.name FROM members m JOIN projects p ON p.id = m.project_id WHERE m.user_id = $1 AND p.deleted_at IS NULL ORDER BY p.id LIMIT 21"
	sqlBoards   = "SELECT t.id, t.project_id, t.title, t.status, t.assignee_id FROM unnest($1::bigint[]) p(id) CROSS JOIN LATERAL " +
		"(SELECT id, project_id, title, status, assignee_id FROM tasks WHERE project_id = p.id AND deleted_at IS NULL ORDER BY id LIMIT 11) t"
	sqlTalks = "SELECT c.task_id, c.body, c.author_id FROM unnest($1::bigint[], $2::bigint[]) t(project_id, id) CROSS JOIN LATERAL " +
		"(SELECT task_id, body, author_id FROM comments WHERE project_id = t.project_id AND task_id = t.id AND deleted_at IS NULL ORDER BY id LIMIT 4) c"
	sqlPeople = "SELECT id, name FROM users WHERE id = ANY($1) AND deleted_at IS NULL"
)

// sqlPages are sqlPage in each of the orders.
func sqlPages() (all []string) {
	for _, o := range orders {
		all = append(all, fmt.Sprintf(sqlPage, o.sql))
	}
	return all
}

type hop struct {
	users, projects, tasks *pgxpool.Pool

	pages []string
}

// Run serves.
func (r *rowsServe) Run(ctx context.Context) (err error) {
	h := hop{pages: sqlPages()}
	for url, pool := range map[string]**pgxpool.Pool{r.Users: &h.users, r.Projects: &h.projects, r.Tasks: &h.tasks} {
		if *pool, err = pgxpool.New(ctx, url); err != nil {
			return err
		}
		defer (*pool).Close()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /task/{id}", answering(h.task))
	mux.HandleFunc("GET /page/{project}/{status}/{order}", answering(h.page))
	mux.HandleFunc("GET /deep/{after}", answering(h.deep))
	mux.HandleFunc("POST /create/{project}", answering(h.create))
	mux.HandleFunc("PATCH /change/{id}/{status}", answering(h.change))
	mux.HandleFunc("POST /nested/{user}", answering(h.nested))
	rpc, stop, err := serveRPC(ctx, h, r.Redis)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return listen(ctx, mux, func(at string) any { return hops{HTTP: at, RPC: rpc} })
}

func answering[T any](do func(r *http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		b, err := json.Marshal(v)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // whoever went away needs no answer
	}
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.PathValue(name), 10, 64) // the runner writes them
	return n
}

func list(ctx context.Context, p *pgxpool.Pool, sql string, args ...any) ([]rowTask, error) {
	rows, err := p.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[rowTask])
}

func one(tasks []rowTask, err error) (rowTask, error) {
	if err != nil || len(tasks) == 0 {
		return rowTask{}, errors.Join(err, pgx.ErrNoRows)
	}
	return tasks[0], nil
}

func (h hop) task(r *http.Request) (rowTask, error) {
	return one(list(r.Context(), h.tasks, sqlTask, number(r, "id")))
}

func (h hop) page(r *http.Request) ([]rowTask, error) {
	return list(r.Context(), h.tasks, h.pages[number(r, "order")], number(r, "project"), number(r, "status"))
}

func (h hop) deep(r *http.Request) ([]rowTask, error) {
	return list(r.Context(), h.tasks, sqlDeep, 1, number(r, "after"))
}

// written is what clients send.
type written struct {
	Title       string `json:"title"`
	Description string `json:"description"`
}

func (h hop) create(r *http.Request) (t rowTask, err error) {
	var w written
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return t, err
	}
	err = pgx.BeginFunc(r.Context(), h.tasks, func(tx pgx.Tx) error {
		var n int64
		if err := tx.QueryRow(r.Context(), sqlNumber, number(r, "project")).Scan(&n); err != nil {
			return err
		}
		rows, err := tx.Query(r.Context(), sqlCreate, number(r, "project"), n, w.Title, w.Description, 1,
			"e"+strconv.FormatInt(n, 10)) // places that the service is far from giving
		if err != nil {
			return err
		}
		if t, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[rowTask]); err != nil {
			return err
		}
		_, err = tx.Exec(r.Context(), sqlEvent, "task.created", t.ID, t.ProjectID, t.Version, body)
		return err
	})
	return t, err
}

func (h hop) change(r *http.Request) (t rowTask, err error) {
	err = pgx.BeginFunc(r.Context(), h.tasks, func(tx pgx.Tx) error {
		rows, err := tx.Query(r.Context(), sqlChange, number(r, "id"), number(r, "status"))
		if err != nil {
			return err
		}
		if t, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[rowTask]); err != nil {
			return err
		}
		_, err = tx.Exec(r.Context(), sqlEvent, "task.updated", t.ID, t.ProjectID, t.Version, []byte(t.Description))
		return err
	})
	return t, err
}

// The nested answer, as GraphQL gives it.
type (
	nodes[T any] struct {
		Nodes []T `json:"nodes"`
	}
	named struct {
		Name string `json:"name"`
	}
	said struct {
		Body   string `json:"body"`
		Author *named `json:"author"`
	}
	boardTask struct {
		id, project int64
		Title       string      `json:"title"`
		Status      int16       `json:"status"`
		Assignee    *named      `json:"assignee"`
		Comments    nodes[said] `json:"comments"`
	}
	board struct {
		Name  string            `json:"name"`
		Tasks nodes[*boardTask] `json:"tasks"`
	}
)

// nested asks four statements, one a level, and puts their rows together.
func (h hop) nested(r *http.Request) (out nodes[*board], err error) {
	ctx := r.Context()
	boards := map[int64]*board{}
	var ids []int64
	var id int64
	var name string
	rows, _ := h.projects.Query(ctx, sqlProjects, number(r, "user")) // ForEachRow tells of the error
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		if b := (&board{Name: name}); len(ids) < projectsEach {
			boards[id], ids, out.Nodes = b, append(ids, id), append(out.Nodes, b)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	var (
		t                  boardTask
		assignee           *int64
		taskIDs, inProject []int64
		tasks              = map[int64]*boardTask{}
		assigned           = map[*boardTask]int64{}
		people             = map[int64]*named{}
	)
	rows, _ = h.tasks.Query(ctx, sqlBoards, ids)
	_, err = pgx.ForEachRow(rows, []any{&t.id, &t.project, &t.Title, &t.Status, &assignee}, func() error {
		if b := boards[t.project]; len(b.Tasks.Nodes) < 10 {
			c := t
			b.Tasks.Nodes = append(b.Tasks.Nodes, &c)
			tasks[c.id] = &c
			taskIDs, inProject = append(taskIDs, c.id), append(inProject, c.project)
			if assignee != nil {
				assigned[&c], people[*assignee] = *assignee, nil
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	var body string
	var author int64
	authors := map[int64][]int64{}
	rows, _ = h.tasks.Query(ctx, sqlTalks, inProject, taskIDs)
	_, err = pgx.ForEachRow(rows, []any{&id, &body, &author}, func() error {
		if c := &tasks[id].Comments; len(c.Nodes) < 3 {
			c.Nodes = append(c.Nodes, said{Body: body})
			authors[id], people[author] = append(authors[id], author), nil
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	wanted := make([]int64, 0, len(people))
	for id := range people {
		wanted = append(wanted, id)
	}
	rows, _ = h.users.Query(ctx, sqlPeople, wanted)
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error { people[id] = &named{name}; return nil })
	for t, id := range assigned {
		t.Assignee = people[id]
	}
	for id, by := range authors {
		for i, a := range by {
			tasks[id].Comments.Nodes[i].Author = people[a]
		}
	}
	return out, err
}
