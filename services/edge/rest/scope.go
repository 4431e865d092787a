package rest

import "context"

// Scope is the project that an answer is about; 0 for none, or for one that nobody knows.
type Scope struct{ Project int64 }

type scopeKey struct{}

// WithScope gives a context in which reads tell the project of their answer.
func WithScope(ctx context.Context) (context.Context, *Scope) {
	s := new(Scope)
	return context.WithValue(ctx, scopeKey{}, s), s
}

// tell says that the answer of ctx is about the project.
func tell(ctx context.Context, projectID int64) {
	if s, ok := ctx.Value(scopeKey{}).(*Scope); ok {
		s.Project = projectID
	}
}
