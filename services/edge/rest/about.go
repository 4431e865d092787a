package rest

import "context"

// About is the project that an answer is about; 0 for none, or for one that nobody knows.
type About struct{ Project int64 }

type aboutKey struct{}

// WithAbout gives a context in which reads tell the project of their answer.
func WithAbout(ctx context.Context) (context.Context, *About) {
	s := new(About)
	return context.WithValue(ctx, aboutKey{}, s), s
}

// tell says that the answer of ctx is about the project.
func tell(ctx context.Context, projectID int64) {
	if s, ok := ctx.Value(aboutKey{}).(*About); ok {
		s.Project = projectID
	}
}
