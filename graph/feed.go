package graph

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

const (
	// feedPage is how many events are read from a service at once.
	feedPage = 100
	// feedCheck is how often it is asked whether the caller may still see what nothing happens to.
	feedCheck = 30 * time.Second
	// A service that can not be reached is asked again after a pause, which grows, for so long.
	feedPause, feedPatience = 100 * time.Millisecond, 20 * time.Second
	// maxReaders is how many feeds read from the services at the same time. When Redis is lost, all of them want to.
	maxReaders = 16
)

// The services that tell of events.
const (
	fromTasks    = "tasks"
	fromProjects = "projects"
)

// source is what a feed takes from a service.
type source struct {
	service string
	list    func(context.Context, *eventsv1.ListEventsRequest, ...grpc.CallOption) (*eventsv1.ListEventsResponse, error)
	project int64
	types   []string
	mine    bool
}

// covers reports whether the source has the event; what it says of projects is what list says of them.
func (s *source) covers(n events.News, caller int64) bool {
	return n.Service == s.service && slices.Contains(s.types, n.Type) &&
		(s.project == 0 || n.ProjectID == s.project) && (!s.mine || slices.Contains(n.Audience, caller))
}

// feed is a subscription at work: what happened since its cursor comes from the services, by ListEvents, and what
// happens from then on from the hub, whose news is checked against what the caller may see before it is passed on. A
// feed's place is known for each source, so that nothing is passed on twice, or left out where one way ends and the
// other begins.
type feed struct {
	*resolver

	sources []source
	// project is the one without which the feed ends; 0 for none.
	project int64
	// own lets through the events of the projects that the caller is a member of, and not of public ones as well.
	own bool

	caller int64
	at     map[string]events.Position
}

// follow starts a feed and gives its events, made by shape, which says false for those to leave out.
func follow[T any](
	ctx context.Context, f *feed, after *string, shape func(e *eventsv1.Event, cursor string) (T, bool, error),
) (<-chan T, error) {
	if f.cfg.Events == nil {
		return nil, errs.New(errs.Unavailable, "There are no subscriptions here.")
	}
	f.caller = auth.CallerFrom(ctx).UserID
	if f.caller == 0 {
		return nil, errs.New(errs.Unauthenticated, "Sign in first.")
	}
	if err := f.scoped(ctx); err != nil {
		return nil, err
	}
	// First the ear, then the table: what happens in between is heard.
	ear := f.cfg.Events.Listen(func(n events.News) bool { return f.guards(n) || f.sourceOf(n) != nil })
	err := f.place(ctx, after)
	if err != nil {
		ear.Close()
		return nil, f.failure(ctx, err)
	}
	out := make(chan T)
	f.coming = make(chan trace.Span)
	emit := func(ctx context.Context, e *eventsv1.Event) error {
		v, ok, err := shape(e, f.cursor())
		if err != nil || !ok {
			return err
		}
		select {
		case f.coming <- trace.SpanFromContext(ctx):
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case out <- v:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.feeds.Go(func() {
		defer close(out)
		defer close(f.coming)
		defer ear.Close()
		if err := f.run(ctx, ear, after != nil, emit); err != nil && ctx.Err() == nil {
			f.ended = f.failure(ctx, err)
		}
	})
	return out, nil
}

// await waits for the next event, and gives ctx with the span by which it is delivered.
func (r *resolver) await(ctx context.Context) context.Context {
	if r.coming == nil {
		return ctx
	}
	select {
	case span, open := <-r.coming:
		if open {
			return trace.ContextWithSpan(ctx, span)
		}
	case <-ctx.Done():
	}
	return ctx
}

// scoped is Denied if the caller's token is not for what the feed tells.
func (f *feed) scoped(ctx context.Context) error {
	for _, s := range f.sources {
		for _, typ := range s.types {
			noun, _, _ := strings.Cut(typ, ".")
			if scope := auth.ReadScope(noun); !auth.CallerFrom(ctx).Has(scope) {
				return errs.New(errs.Denied, "This token is not for %s.", scope)
			}
		}
	}
	return nil
}

// place finds out where the feed begins: behind the cursor, or behind what there is.
func (f *feed) place(ctx context.Context, after *string) error {
	f.at = make(map[string]events.Position, len(f.sources))
	if after != nil {
		if err := f.readCursor(*after); err != nil {
			return err
		}
	}
	for i := range f.sources {
		s := &f.sources[i]
		if _, placed := f.at[s.service]; placed && after != nil {
			continue
		}
		answer, err := s.list(ctx, s.request("", 1, true))
		if err != nil {
			return err
		}
		if f.at[s.service], err = events.ParsePosition(answer.GetCursor()); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) request(after string, limit int32, newest bool) *eventsv1.ListEventsRequest {
	return &eventsv1.ListEventsRequest{
		After: after, Limit: limit, ProjectId: s.project, Types: s.types, Mine: s.mine, NewestFirst: newest,
	}
}

// run passes events on until ctx or the caller's permission ends.
func (f *feed) run(ctx context.Context, ear *events.Listener, missed bool, emit func(context.Context, *eventsv1.Event) error) error {
	check := time.NewTicker(feedCheck)
	defer check.Stop()
	var news []events.News
	for {
		if missed {
			if err := f.catchUp(ctx, emit); err != nil {
				return err
			}
		}
		if err := f.pass(ctx, news, emit); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-check.C:
			news, missed = nil, false
			if err := f.scoped(ctx); err != nil { // the token may be another one by now
				return err
			}
			if _, err := f.access(ctx, f.project); err != nil {
				return err
			}
		case <-ear.Ready():
			var since map[string]events.Position
			news, since, missed = ear.Take()
			f.move(since)
		}
	}
}

// move brings the feed's place to where all has been told. Its own last event may be swept away long before the next.
func (f *feed) move(to map[string]events.Position) {
	for service, at := range f.at {
		if at.Before(to[service]) {
			f.at[service] = to[service]
		}
	}
}

// catchUp reads what has happened since the feed's place from the services.
func (f *feed) catchUp(ctx context.Context, emit func(context.Context, *eventsv1.Event) error) error {
	for i := range f.sources {
		s := &f.sources[i]
		for more := true; more; {
			answer, err := patiently(ctx, func() (*eventsv1.ListEventsResponse, error) {
				select {
				case f.readers <- struct{}{}:
					defer func() { <-f.readers }()
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				return s.list(ctx, s.request(f.at[s.service].String(), feedPage, false))
			})
			if err != nil {
				return err
			}
			for _, e := range answer.GetEvents() {
				if err := f.give(ctx, s, e, emit); err != nil {
					return err
				}
			}
			end, err := events.ParsePosition(answer.GetCursor())
			if err != nil {
				return err
			}
			f.at[s.service] = end
			more = answer.GetMore()
		}
	}
	return nil
}

// pass passes on what the hub has told, as far as the caller may see it now, which is after it happened.
func (f *feed) pass(ctx context.Context, news []events.News, emit func(context.Context, *eventsv1.Event) error) error {
	if len(news) == 0 {
		return nil
	}
	if err := f.scoped(ctx); err != nil { // the token may be another one by now
		return err
	}
	ctx, span := f.watch.deliver(ctx, news)
	defer span.End()
	projects := []int64{f.project}
	for _, n := range news {
		projects = append(projects, n.ProjectID)
	}
	readable, err := f.access(ctx, projects...)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	for _, n := range news {
		s := f.sourceOf(n)
		if s == nil || !f.at[n.Service].Before(n.Position) {
			continue
		}
		bye := farewell(n) && slices.Contains(n.Audience, f.caller) && auth.CallerFrom(ctx).InProject(n.ProjectID)
		if bye || readable[n.ProjectID] {
			if err := f.give(ctx, s, newEvent(n.Record), emit); err != nil {
				return err
			}
		}
		f.at[n.Service] = n.Position
	}
	return err
}

// give passes one event on, with the feed's place behind it.
func (f *feed) give(ctx context.Context, s *source, e *eventsv1.Event, emit func(context.Context, *eventsv1.Event) error) error {
	at, err := events.ParsePosition(e.GetCursor())
	if err != nil {
		return err
	}
	f.at[s.service] = at
	return emit(ctx, e)
}

// access says which of the projects the caller may read, 0 left out. It is NotFound if the feed's own is not among them.
func (f *feed) access(ctx context.Context, projects ...int64) (map[int64]bool, error) {
	slices.Sort(projects)
	projects = slices.DeleteFunc(slices.Compact(projects), func(id int64) bool { return id == 0 })
	readable := make(map[int64]bool, len(projects))
	if len(projects) == 0 {
		return readable, nil
	}
	answer, err := patiently(ctx, func() ([]*projectsv1.Access, error) {
		if f.own {
			mine, err := f.cfg.Projects.ListAccess(ctx, &projectsv1.ListAccessRequest{ProjectIds: projects})
			return mine.GetAccess(), err
		}
		them, err := f.cfg.Projects.BatchGetAccess(ctx, &projectsv1.BatchGetAccessRequest{ProjectIds: projects})
		return them.GetAccess(), err
	})
	if err != nil {
		return nil, err
	}
	for _, a := range answer {
		readable[a.GetProjectId()] = auth.Role(a.GetRole()).Allows(auth.ReadProject)
	}
	if f.project != 0 && !readable[f.project] {
		return readable, errs.Missing("project")
	}
	return readable, nil
}

// guards reports whether the event may end what the caller may see.
func (f *feed) guards(n events.News) bool {
	return f.project != 0 && n.ProjectID == f.project && n.Service == fromProjects
}

func (f *feed) sourceOf(n events.News) *source {
	for i := range f.sources {
		if f.sources[i].covers(n, f.caller) {
			return &f.sources[i]
		}
	}
	return nil
}

// farewell reports whether the event takes a project away from those whom it concerns; the projects service tells them
// of it, too.
func farewell(n events.News) bool { return n.Type == "member.deleted" || n.Type == "project.deleted" }

// patiently asks again while a service can not be reached.
func patiently[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, feedPatience)
	defer cancel()
	for wait := feedPause; ; wait *= 2 {
		answer, err := ask()
		if !errs.Is(err, errs.Unavailable, errs.DeadlineExceeded) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(wait):
		}
	}
}

// cursor is the feed's place, as clients see it.
func (f *feed) cursor() string {
	var parts []string
	for _, service := range slices.Sorted(maps.Keys(f.at)) {
		parts = append(parts, service+":"+f.at[service].String())
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, " ")))
}

// readCursor goes to where a cursor was.
func (f *feed) readCursor(cursor string) error {
	text, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return errs.InvalidField("after", "is no cursor of an event")
	}
	for part := range strings.SplitSeq(string(text), " ") {
		service, position, _ := strings.Cut(part, ":")
		if !slices.ContainsFunc(f.sources, func(s source) bool { return s.service == service }) {
			return errs.InvalidField("after", "is a cursor of another subscription")
		}
		if f.at[service], err = events.ParsePosition(position); err != nil {
			return err
		}
	}
	return nil
}
