package seed

import (
	"time"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

const (
	// Email signs in the person who owns most of the demo data.
	Email = "ada@example.com"
	// Password is that of everybody in the demo data. It is no secret: the demo listens on this machine only.
	Password = "trackway-demo"
)

const (
	day = 24 * time.Hour

	todo      = tasksv1.Status_STATUS_TODO
	doing     = tasksv1.Status_STATUS_IN_PROGRESS
	done      = tasksv1.Status_STATUS_DONE
	cancelled = tasksv1.Status_STATUS_CANCELLED

	low    = tasksv1.Priority_PRIORITY_LOW
	medium = tasksv1.Priority_PRIORITY_MEDIUM
	high   = tasksv1.Priority_PRIORITY_HIGH
	urgent = tasksv1.Priority_PRIORITY_URGENT
)

// People are named by the part of their e-mail before the @, here and below.
type person struct{ id, name string }

type project struct {
	name, description string
	owner             string
	public            bool
	members           []member
	tasks             []task
}

type member struct {
	person string
	role   projectsv1.Role
}

type task struct {
	title       string
	status      tasksv1.Status
	priority    tasksv1.Priority
	assignee    string
	labels      []string
	description string
	due         time.Duration // after the project was made; 0 is never
	sub         bool          // of the task before it that is not itself one
	comments    []comment
}

type comment struct{ author, body string }

func people() []person {
	return []person{
		{"ada", "Ada Lovelace"},
		{"grace", "Grace Hopper"},
		{"alan", "Alan Turing"},
		{"katherine", "Katherine Johnson"},
		{"edsger", "Edsger Dijkstra"},
	}
}

func projects() []project { return []project{website(), mobile(), handbook()} }

func website() project {
	return project{
		name: "Website relaunch", owner: "ada",
		description: "A faster, accessible website, before the autumn campaign.",
		members: []member{
			{"grace", projectsv1.Role_ROLE_ADMIN},
			{"alan", projectsv1.Role_ROLE_MEMBER},
			{"katherine", projectsv1.Role_ROLE_COMMENTER},
			{"edsger", projectsv1.Role_ROLE_VIEWER},
		},
		tasks: []task{
			{title: "Agree on the goals of the relaunch", status: done, priority: high, assignee: "ada", labels: []string{"planning"}},
			{title: "Interview eight customers", status: done, priority: medium, assignee: "grace", labels: []string{"research"}, comments: []comment{
				{"grace", "Six of eight never found the price list. Notes are in the shared folder."},
				{"ada", "That alone is worth the relaunch. Thank you!"},
			}},
			{title: "Draw the new navigation", status: done, priority: high, assignee: "alan", labels: []string{"design"}, comments: []comment{
				{"katherine", "Could the search come first on small screens?"},
				{"alan", "It does now."},
			}},
			{title: "Build the component library", status: doing, priority: high, assignee: "alan", labels: []string{"design", "frontend"}, due: 10 * day, description: "Buttons, forms, tables and cards, each with its states and a test of its contrast."},
			{title: "Forms with errors that say what to do", status: doing, priority: medium, assignee: "alan", labels: []string{"frontend"}, sub: true, due: 6 * day},
			{title: "Tables that fit a phone", status: todo, priority: medium, labels: []string{"frontend"}, sub: true, due: 9 * day},
			{title: "Move the articles to the new content store", status: doing, priority: medium, assignee: "grace", labels: []string{"content"}, due: 14 * day, comments: []comment{
				{"grace", "412 of 1,290 are over. The old tables need work by hand."},
			}},
			{title: "Redirect every old address", status: todo, priority: urgent, assignee: "grace", labels: []string{"content", "seo"}, due: 20 * day},
			{title: "Measure the time to first paint", status: todo, priority: medium, assignee: "alan", labels: []string{"frontend", "performance"}},
			{title: "Write the accessibility statement", status: todo, priority: low, labels: []string{"content", "legal"}, due: 25 * day},
			{title: "Choose a consent banner", status: cancelled, priority: low, assignee: "ada", labels: []string{"legal"}, comments: []comment{
				{"ada", "We set no cookies that need one, so there is nothing to choose."},
			}},
			{title: "Rehearse the launch", status: todo, priority: high, assignee: "ada", labels: []string{"planning"}, due: 28 * day},
			{title: "Tell the partners the date", status: todo, priority: medium, assignee: "ada", labels: []string{"planning"}, due: 21 * day},
			{title: "Switch over", status: todo, priority: urgent, labels: []string{"planning"}, due: 30 * day},
		},
	}
}

func mobile() project {
	return project{
		name: "Mobile app", owner: "grace",
		description: "The app for Android and iOS: works on the train, syncs at home.",
		members: []member{
			{"ada", projectsv1.Role_ROLE_MEMBER},
			{"alan", projectsv1.Role_ROLE_MEMBER},
			{"edsger", projectsv1.Role_ROLE_ADMIN},
		},
		tasks: []task{
			{title: "Sign in with the system's password store", status: done, priority: high, assignee: "alan", labels: []string{"auth"}},
			{title: "Keep a queue of changes while offline", status: doing, priority: urgent, assignee: "edsger", labels: []string{"offline"}, due: 7 * day, description: "Each change carries an Idempotency-Key from the moment it is made, so that sending it twice makes one task.", comments: []comment{
				{"edsger", "The queue survives the app being killed. Now for the conflicts."},
				{"ada", "On 412: show both versions, and let people choose?"},
				{"edsger", "Yes. It happens rarely enough to ask."},
			}},
			{title: "Store the queue on disk", status: done, priority: high, assignee: "edsger", labels: []string{"offline"}, sub: true},
			{title: "Show both versions after a conflict", status: todo, priority: high, assignee: "ada", labels: []string{"offline", "design"}, sub: true, due: 12 * day},
			{title: "Board view with drag and drop", status: doing, priority: medium, assignee: "ada", labels: []string{"design"}, due: 15 * day},
			{title: "Dark theme", status: done, priority: low, assignee: "ada", labels: []string{"design"}},
			{title: "Fix the date picker around midnight", status: todo, priority: high, assignee: "alan", labels: []string{"bug"}, due: 3 * day, comments: []comment{
				{"alan", "Due dates are calendar days. The picker sends a moment in local time."},
			}},
			{title: "Crash when a label is an emoji", status: done, priority: urgent, assignee: "alan", labels: []string{"bug"}, comments: []comment{
				{"grace", "Confirmed on both systems."},
				{"alan", "Fixed: we cut the text in the middle of a character."},
			}},
			{title: "Notifications for comments", status: todo, priority: medium, labels: []string{"notifications"}},
			{title: "Notifications for tasks that are due", status: todo, priority: low, labels: []string{"notifications"}},
			{title: "Widget with today's tasks", status: cancelled, priority: low, labels: []string{"design"}},
			{title: "Test with a screen reader", status: todo, priority: high, assignee: "edsger", labels: []string{"accessibility"}, due: 18 * day},
			{title: "Release notes for 1.0", status: todo, priority: medium, assignee: "grace", labels: []string{"release"}, due: 27 * day},
		},
	}
}

func handbook() project {
	return project{
		name: "Open handbook", owner: "ada", public: true,
		description: "How we work, written where everybody can read it.",
		members: []member{
			{"katherine", projectsv1.Role_ROLE_ADMIN},
			{"grace", projectsv1.Role_ROLE_MEMBER},
			{"alan", projectsv1.Role_ROLE_COMMENTER},
		},
		tasks: []task{
			{title: "How we name things", status: done, priority: medium, assignee: "katherine", labels: []string{"chapter"}},
			{title: "How we review", status: done, priority: medium, assignee: "grace", labels: []string{"chapter"}, comments: []comment{
				{"alan", "I would add: say what you did not look at."},
				{"grace", "Added."},
			}},
			{title: "How we decide", status: doing, priority: high, assignee: "ada", labels: []string{"chapter"}, due: 5 * day},
			{title: "A template for decisions", status: todo, priority: medium, assignee: "ada", labels: []string{"template"}, sub: true, due: 4 * day},
			{title: "How we answer at night", status: todo, priority: high, assignee: "grace", labels: []string{"chapter", "operations"}, due: 11 * day, comments: []comment{
				{"katherine", "Please with the list of who may be woken for what."},
			}},
			{title: "How we welcome new people", status: doing, priority: medium, assignee: "katherine", labels: []string{"chapter", "people"}, due: 16 * day},
			{title: "First day", status: done, priority: medium, assignee: "katherine", labels: []string{"people"}, sub: true},
			{title: "First month", status: todo, priority: low, assignee: "katherine", labels: []string{"people"}, sub: true},
			{title: "Glossary", status: todo, priority: low, labels: []string{"reference"}},
			{title: "Print edition", status: cancelled, priority: low, labels: []string{"idea"}, comments: []comment{
				{"ada", "It would be out of date before the ink is dry."},
			}},
			{title: "Check every link once a week", status: todo, priority: low, assignee: "grace", labels: []string{"operations"}},
			{title: "Translate into Spanish", status: todo, priority: low, labels: []string{"idea"}},
			{title: "Invite readers to comment", status: done, priority: medium, assignee: "ada", labels: []string{"people"}},
		},
	}
}
