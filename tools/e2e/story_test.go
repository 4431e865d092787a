package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// A person works with a mobile app over REST, the power fails, and a web page shows the same over GraphQL.
func TestWhatOnePersonWritesByRESTAnotherReadsByGraphQL(t *testing.T) {
	t.Parallel()
	for name, mode := range modes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			p := start(t, dir, mode...)
			people := begin(t, p.url)
			project := people.plan()

			p.kill()
			p = start(t, dir, mode...)
			people.meetAt(p.url)

			people.work(project)
			people.compare(project)

			p.kill()
			p = start(t, dir, mode...)
			people.meetAt(p.url)
			people.compare(project)
		})
	}
}

// team are the people of the story.
type team struct {
	t                  *testing.T
	owner, member, web *client
	memberID, webID    any
}

func begin(t *testing.T, url string) *team {
	t.Helper()
	p := &team{t: t}
	p.owner, _ = register(t, url, "Olga Owner", "olga@example.org")
	p.member, p.memberID = register(t, url, "Max Member", "max@example.org")
	p.web, p.webID = register(t, url, "Wanda Web", "wanda@example.org")
	if got, want := p.owner.get("/api/users/me/")["email"], "olga@example.org"; got != want {
		t.Errorf("the e-mail of who is signed in is %v, want %v", got, want)
	}
	return p
}

// meetAt makes everybody go on at another address. The tokens are still good.
func (p *team) meetAt(url string) {
	p.owner.url, p.member.url, p.web.url = url, url, url
}

// plan makes a project with people and tasks.
func (p *team) plan() (project any) {
	p.t.Helper()
	made := p.owner.create("/api/projects/", object{"name": "Garden", "description": "Vegetables, mostly."})
	project = made["id"]
	members := path("/api/projects/%d/members/", project)
	p.owner.do(http.StatusCreated, http.MethodPost, members, object{"user_id": p.memberID, "role": "member"})
	p.owner.do(http.StatusCreated, http.MethodPost, members, object{"user_id": p.webID, "role": "commenter"})
	if got, want := len(p.owner.list(members)), 3; got != want {
		p.t.Errorf("the project has %d members, want %d", got, want)
	}
	beds := p.owner.create("/api/tasks/", object{
		"project_id": project, "title": "Dig the beds", "description": "Two spades deep.", "status": "in_progress",
		"priority": "high", "labels": []any{"soil", "hard work"}, "assignee_id": p.memberID, "due_date": "2031-03-01",
	})
	p.owner.create("/api/tasks/", object{"project_id": project, "title": "Sow the peas", "parent_id": beds["id"]})
	made = as[object](p.t, p.member.query(`mutation ($project: ID!) { createTasks(input: {idempotencyKey: "two", tasks: [
		{projectId: $project, title: "Buy a hose — 30 m, grün"}, {projectId: $project, title: "Learn the API"}
	]}) { outcomes { task { title project { name } } } } }`, object{"project": path("%d", project)})["createTasks"])
	if got, want := fmt.Sprint(made["outcomes"]), "[map[task:map[project:map[name:Garden] title:Buy a hose — 30 m, grün]] "+
		"map[task:map[project:map[name:Garden] title:Learn the API]]]"; got != want {
		p.t.Errorf("two tasks at once: got %s, want %s", got, want)
	}
	return project
}

// work changes and discusses what was planned.
func (p *team) work(project any) {
	p.t.Helper()
	tasks := p.member.list(path("/api/tasks/?project=%d&ordering=id", project))
	if got, want := len(tasks), 4; got != want {
		p.t.Fatalf("after the restart the project has %d tasks, want %d", got, want)
	}
	for i, task := range tasks {
		for range i {
			p.web.create("/api/comments/", object{"task_id": task["id"], "body": "How far are you?"})
			p.member.create("/api/comments/", object{"task_id": task["id"], "body": "Nearly there."})
		}
	}
	last := path("/api/tasks/%d/", tasks[3]["id"])
	done := p.member.do(http.StatusOK, http.MethodPatch, last, object{"completed": true}, "If-Match", `"1"`)
	if got, want := as[object](p.t, done.body)["status"], "done"; got != want {
		p.t.Errorf("a completed task has the status %v, want %v", got, want)
	}
	p.owner.do(http.StatusPreconditionFailed, http.MethodPatch, last, object{"title": "Mine"}, "If-Match", `"1"`)
	p.web.do(http.StatusForbidden, http.MethodPatch, last, object{"title": "Mine"})
	if got, want := len(p.web.list(path("/api/tasks/?project=%d&status=todo", project))), 2; got != want {
		p.t.Errorf("there are %d tasks to do, want %d", got, want)
	}
	changed := as[object](p.t, p.member.query(`mutation ($first: ID!, $second: ID!) { updateTasks(input: {atomic: false, tasks: [
		{id: $first, priority: LOW}, {id: 1234567, priority: LOW}, {id: $second, priority: LOW, expectedVersion: 9}
	]}) { outcomes { task { priority } userErrors { code field } } } }`,
		object{"first": path("%d", tasks[0]["id"]), "second": path("%d", tasks[1]["id"])})["updateTasks"])
	if got, want := fmt.Sprint(changed["outcomes"]), "[map[task:map[priority:LOW] userErrors:[]] "+
		"map[task:<nil> userErrors:[map[code:NOT_FOUND field:[input tasks 1]]]] "+
		"map[task:<nil> userErrors:[map[code:PRECONDITION_FAILED field:[input tasks 2]]]]]"; got != want {
		p.t.Errorf("three changes at once: got %s, want %s", got, want)
	}
	// What is searched for has one order at both doors: the title first, then the description.
	p.member.do(http.StatusOK, http.MethodPatch, path("/api/tasks/%d/", tasks[0]["id"]), object{"description": "Then learn."})
	const want = "[Learn the API Dig the beds]"
	var found []any
	for _, task := range p.web.list(path("/api/tasks/?project=%d&search=lea", project)) {
		found = append(found, task["title"])
	}
	if got := fmt.Sprint(found); got != want {
		p.t.Errorf("a search by REST: got %s, want %s", got, want)
	}
	found = nil
	nodes := as[object](p.t, p.web.query(`query ($project: ID!) { tasks(projectId: $project, filter: {search: "lea"}) { nodes { title } } }`,
		object{"project": path("%d", project)})["tasks"])["nodes"]
	for _, task := range objects(p.t, nodes) {
		found = append(found, task["title"])
	}
	if got := fmt.Sprint(found); got != want {
		p.t.Errorf("a search by GraphQL: got %s, want %s", got, want)
	}
}

const nested = `query ($project: ID!) {
  project(id: $project) {
    databaseId version createdAt updatedAt name description visibility requireIfMatch archivedAt
    owner { databaseId }
    members { nodes { databaseId version createdAt updatedAt role project { databaseId } user { databaseId } } }
    tasks { nodes {
      databaseId version createdAt updatedAt number title description status completed priority labels dueDate
      position completedAt
      project { databaseId }
      assignee { databaseId version createdAt updatedAt name email role active }
      creator { databaseId }
      parent { databaseId }
      comments { nodes {
        databaseId version createdAt updatedAt body
        task { databaseId project { databaseId } }
        author { databaseId version createdAt updatedAt name email role active }
      } }
    } }
  }
}`

// compare reads everything by both doors, and expects the same fields with the same values.
func (p *team) compare(project any) {
	p.t.Helper()
	same := func(what string, graphQL, rest object) {
		p.t.Helper()
		if diff := cmp.Diff(asREST(graphQL), plain(rest)); diff != "" {
			p.t.Errorf("%s differs (-GraphQL +REST):\n%s", what, diff)
		}
	}
	// each compares a connection with a list.
	each := func(what string, connection any, list []object) []object {
		p.t.Helper()
		nodes := objects(p.t, as[object](p.t, connection)["nodes"])
		if len(nodes) != len(list) {
			p.t.Fatalf("%s: GraphQL gives %d, want %d as by REST", what, len(nodes), len(list))
		}
		for i, n := range nodes {
			same(what, n, list[i])
		}
		return nodes
	}
	person := func(what string, user any) {
		p.t.Helper()
		u := as[object](p.t, user)
		same(what, u, p.web.get(path("/api/users/%d/", u["databaseId"])))
	}

	data := p.web.query(nested, object{"project": path("%d", project)})
	got := as[object](p.t, data["project"])
	same("the project", got, p.web.get(path("/api/projects/%d/", project)))
	each("a member", got["members"], p.web.list(path("/api/projects/%d/members/", project)))
	comments := 0
	for _, task := range each("a task", got["tasks"], p.web.list(path("/api/projects/%d/tasks/", project))) {
		if task["assignee"] != nil {
			person("the assignee", task["assignee"])
		}
		list := p.web.list(path("/api/tasks/%d/comments/", task["databaseId"]))
		for _, comment := range each("a comment", task["comments"], list) {
			person("the author", comment["author"])
			comments++
		}
	}
	if want := 12; comments != want {
		p.t.Errorf("there are %d comments, want %d", comments, want)
	}
}

// asREST gives a GraphQL object the names and values of REST: snake_case, ids of what it refers to, enums in lower
// case. Lists of other things are compared by themselves.
func asREST(o object) object {
	rest := object{}
	for name, value := range o {
		key := snake(name)
		switch v := value.(type) {
		case object:
			if _, isList := v["nodes"]; !isList {
				rest[key+"_id"] = v["databaseId"]
			}
			if project, ok := v["project"].(object); ok { // a comment's, by way of its task
				rest["project_id"] = project["databaseId"]
			}
			continue
		case string:
			switch name {
			case "status", "priority", "role", "visibility":
				value = strings.ToLower(v)
			}
		}
		if name == "databaseId" {
			key = "id"
		}
		rest[key] = value
	}
	return plain(rest)
}

// plain leaves out what is absent, which the two doors say differently, and reads moments.
func plain(o object) object {
	o = maps.Clone(o)
	for key, value := range o {
		if text, ok := value.(string); ok && strings.HasSuffix(key, "_at") {
			if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
				o[key] = at.UTC()
			}
		}
		if value == nil {
			delete(o, key)
		}
	}
	return o
}

func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
