package relay

import (
	"google.golang.org/protobuf/proto"

	"github.com/trackway/trackway/services/platform/page"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Node is a thing with a global id: a message of the contract.
type Node interface {
	proto.Message
	GetId() int64
}

// Connection is one page of a list, as in https://relay.dev/graphql/connections.htm.
type Connection[T any] struct {
	Nodes      []T
	PageInfo   *PageInfo
	TotalCount *int64

	cursors []string // one for each node, if edges are wanted
}

// Edge is an item of a page with its place in the list.
type Edge[T any] struct {
	Cursor string
	Node   T
}

// EdgeOf is a thing that was made a moment ago as an item of the lists it is in, in the order that they have when nobody
// asks for another one. It is nil if nothing was made.
func EdgeOf[P interface {
	*T
	Node
}, T any](made P) *Edge[P] {
	if made == nil {
		return nil
	}
	return &Edge[P]{Cursor: page.ByID(made.GetId()), Node: made}
}

// PageInfo says where a page lies in its list.
type PageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// The connections of the schema have names because gqlgen finds Go types by name.
type (
	// UserConnection is a page of users.
	UserConnection = Connection[*usersv1.User]
	// UserEdge is a user in a page.
	UserEdge = Edge[*usersv1.User]
	// SecurityEventConnection is a page of security events.
	SecurityEventConnection = Connection[*usersv1.SecurityEvent]
	// SecurityEventEdge is a security event in a page.
	SecurityEventEdge = Edge[*usersv1.SecurityEvent]
	// ProjectConnection is a page of projects.
	ProjectConnection = Connection[*projectsv1.Project]
	// ProjectEdge is a project in a page.
	ProjectEdge = Edge[*projectsv1.Project]
	// MemberConnection is a page of members.
	MemberConnection = Connection[*projectsv1.Member]
	// MemberEdge is a member in a page.
	MemberEdge = Edge[*projectsv1.Member]
	// TaskConnection is a page of tasks.
	TaskConnection = Connection[*tasksv1.Task]
	// TaskEdge is a task in a page.
	TaskEdge = Edge[*tasksv1.Task]
	// CommentConnection is a page of comments.
	CommentConnection = Connection[*tasksv1.Comment]
	// CommentEdge is a comment in a page.
	CommentEdge = Edge[*tasksv1.Comment]
)

// Order is a term of an order, as the schema spells it: DUE_DATE, DESC.
type Order struct {
	Field     string
	Direction string
}

// Position is what a service says about a page; page.v1.PageInfo is one.
type Position interface {
	GetCursors() []string
	GetHasNext() bool
	GetHasPrevious() bool
}

// Connect makes a connection of a page that a service gave.
func Connect[T any](nodes []T, at Position, total *int64) *Connection[T] {
	if nodes == nil {
		nodes = []T{} // an empty list, not null
	}
	cursors := at.GetCursors()
	made := &struct { // in one piece, as many are made at once
		Connection[T]

		info PageInfo
	}{info: PageInfo{HasNextPage: at.GetHasNext(), HasPreviousPage: at.GetHasPrevious()}}
	if n := len(cursors); n > 0 {
		made.info.StartCursor, made.info.EndCursor = &cursors[0], &cursors[n-1]
	}
	made.Connection = Connection[T]{Nodes: nodes, PageInfo: &made.info, TotalCount: total, cursors: cursors}
	return &made.Connection
}

// Edges gives the nodes with their cursors.
func (c *Connection[T]) Edges() []*Edge[T] {
	edges := make([]*Edge[T], 0, len(c.Nodes))
	for i, n := range c.Nodes {
		edges = append(edges, &Edge[T]{Cursor: c.cursors[i], Node: n})
	}
	return edges
}

// Len is how many nodes the page has.
func (c *Connection[T]) Len() int { return len(c.Nodes) }

// Node is the i-th node, or nil if it is none.
func (c *Connection[T]) Node(i int) Node {
	n, _ := any(c.Nodes[i]).(Node)
	return n
}

// Cursor is the place of the i-th node in the list.
func (c *Connection[T]) Cursor(i int) string { return c.cursors[i] }

// Info says where the page lies in its list.
func (c *Connection[T]) Info() *PageInfo { return c.PageInfo }

// Total is how many things the whole list has, if that was asked for.
func (c *Connection[T]) Total() *int64 { return c.TotalCount }
