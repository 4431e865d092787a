package events

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/postgres"
)

// Position is the place of an event in the order in which readers see events: by transaction, and within one by id. It
// is an id of a Redis Stream, too. The zero Position is before all events.
type Position struct {
	XID uint64
	ID  int64
}

// String is the position as an id of a Redis Stream, "812-33".
func (p Position) String() string {
	return strconv.FormatUint(p.XID, 10) + "-" + strconv.FormatInt(p.ID, 10)
}

// ParsePosition reads what String writes.
func ParsePosition(s string) (Position, error) {
	xid, id, _ := strings.Cut(s, "-")
	var (
		p   Position
		err error
	)
	if p.XID, err = strconv.ParseUint(xid, 10, 64); err == nil {
		p.ID, err = strconv.ParseInt(id, 10, 64)
	}
	if err != nil || p.ID < 0 || p.String() != s {
		return Position{}, errs.InvalidField("after", "is no cursor of an event")
	}
	return p, nil
}

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool { return p.XID < q.XID || p.XID == q.XID && p.ID < q.ID }

// Record is an event as it is read.
type Record struct {
	Position Position
	// Previous is the position of the event before it, among all of the service. A reader who has not seen that one has
	// missed something. Only the relay knows it.
	Previous Position

	OccurredAt  time.Time
	Type        string
	SubjectID   int64
	ProjectID   int64 // 0 for none
	ActorID     int64 // 0 for nobody
	Version     int64
	Payload     []byte // the thing after the change, a message of the service's contract
	Changed     []string
	Audience    []int64
	Traceparent string
	Tags        []string
	Mark        string
}

// Noun is what the event is about: "task" of "task.created".
func (r *Record) Noun() string {
	noun, _, _ := strings.Cut(r.Type, ".")
	return noun
}

// Filter narrows a list of events; what is zero does not narrow.
type Filter struct {
	Projects  []int64 // nil for all; none if it is empty
	SubjectID int64
	Types     []string
	Audience  int64 // a user whom they concern
	Either    bool  // of the projects or for the audience, and not both
}

type stored struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	Xid         uint64 `bun:",scanonly"`
	ID          int64
	OccurredAt  time.Time
	Type        string
	SubjectID   int64
	ProjectID   int64 `bun:",nullzero"`
	ActorID     int64 `bun:",nullzero"`
	Version     int64
	Payload     []byte
	Changed     []string `bun:",array"`
	Audience    []int64  `bun:",array"`
	Traceparent string   `bun:",nullzero"`
	Tags        []string `bun:",array"`
	Mark        string
}

const columns = "e.xid::text::bigint AS xid, e.id, e.occurred_at, e.type, e.subject_id, e.project_id, e.actor_id, e.version, " +
	"e.payload, e.changed, e.audience, e.traceparent, e.tags, coalesce(e.mark, '') AS mark"

// settled are the events that no transaction in flight can come before. A sequence's value alone says nothing: a lower
// one may be committed after a higher one.
const settled = "e.xid < pg_snapshot_xmin(pg_current_snapshot())"

// List gives the first events after a position, in order.
func List(ctx context.Context, db postgres.Querier, after Position, f Filter, limit int64) ([]Record, error) {
	q := db.NewSelect().Model((*stored)(nil)).
		Where("(e.xid, e.id) > (?::xid8, ?)", postgres.Arg(strconv.FormatUint(after.XID, 10)), postgres.Arg(after.ID))
	return scan(ctx, db, narrow(q, f).OrderExpr("e.xid, e.id").Limit(limit))
}

// Latest gives the last events before a position, the last first; the zero Position is behind all of them.
func Latest(ctx context.Context, db postgres.Querier, before Position, f Filter, limit int64) ([]Record, error) {
	q := db.NewSelect().Model((*stored)(nil))
	if before != (Position{}) {
		q = q.Where("(e.xid, e.id) < (?::xid8, ?)", strconv.FormatUint(before.XID, 10), before.ID)
	}
	return scan(ctx, db, narrow(q, f).OrderExpr("e.xid DESC, e.id DESC").Limit(limit))
}

func narrow(q *bun.SelectQuery, f Filter) *bun.SelectQuery {
	q = q.Where(settled)
	switch {
	case f.Either:
		q = q.Where("(e.project_id = ANY(?) OR e.audience @> ?)",
			postgres.Literal(pgdialect.Array(f.Projects)), postgres.Literal(pgdialect.Array([]int64{f.Audience})))
	case f.Projects != nil:
		q = q.Where("e.project_id = ANY(?)", postgres.Literal(pgdialect.Array(f.Projects)))
	}
	if f.SubjectID != 0 {
		q = q.Where("e.subject_id = ?", postgres.Literal(f.SubjectID))
	}
	if len(f.Types) > 0 {
		q = q.Where("e.type = ANY(?)", postgres.Literal(pgdialect.Array(f.Types)))
	}
	if f.Audience != 0 && !f.Either {
		q = q.Where("e.audience @> ?", postgres.Literal(pgdialect.Array([]int64{f.Audience})))
	}
	return q
}

func scan(ctx context.Context, db postgres.Querier, q *bun.SelectQuery) ([]Record, error) {
	var rows []stored
	if err := db.Scan(ctx, q.ColumnExpr(columns), &rows); err != nil {
		return nil, postgres.Error(err, "event")
	}
	records := make([]Record, 0, len(rows))
	for _, r := range rows {
		records = append(records, Record{
			Position: Position{r.Xid, r.ID}, OccurredAt: r.OccurredAt, Type: r.Type, SubjectID: r.SubjectID,
			ProjectID: r.ProjectID, ActorID: r.ActorID, Version: r.Version, Payload: r.Payload, Changed: r.Changed,
			Audience: r.Audience, Traceparent: r.Traceparent, Tags: r.Tags, Mark: r.Mark,
		})
	}
	return records, nil
}

// Request is how a caller asks for a list of events; events.v1.ListEventsRequest is one.
type Request interface {
	GetAfter() string
	GetLimit() int32
	GetSubjectId() int64
	GetTypes() []string
	GetMine() bool
	GetNewestFirst() bool
}

const (
	defaultList = 100
	maxList     = 500
	maxTypes    = 20
)

// Page is a part of a list of events.
type Page struct {
	Records []Record
	Cursor  string // up to where it has been read
	More    bool
}

// Read gives the page that the request asks for, of the events that the filter lets through: the caller's permission.
func Read(ctx context.Context, db postgres.Querier, req Request, f Filter) (Page, error) {
	limit := int64(cmp.Or(req.GetLimit(), defaultList))
	var c errs.Check
	c.That(limit >= 1 && limit <= maxList, "limit", "must be between 1 and %d", maxList)
	c.That(len(req.GetTypes()) <= maxTypes, "types", "must be at most %d", maxTypes)
	if err := c.Err(); err != nil {
		return Page{}, err
	}
	var from Position
	if req.GetAfter() != "" {
		var err error
		if from, err = ParsePosition(req.GetAfter()); err != nil {
			return Page{}, err
		}
	}
	f.SubjectID, f.Types = req.GetSubjectId(), req.GetTypes()
	list := List
	if req.GetNewestFirst() {
		list = Latest
	}
	records, err := list(ctx, db, from, f, limit+1)
	if err != nil {
		return Page{}, err
	}
	if !req.GetNewestFirst() { // after the list: what is swept in between would be missing from it
		if err := kept(ctx, db, from); err != nil {
			return Page{}, err
		}
	}
	p := Page{Records: records, More: int64(len(records)) > limit}
	if p.More {
		p.Records = records[:limit]
	}
	for i := range p.Records {
		if from.Before(p.Records[i].Position) {
			from = p.Records[i].Position
		}
	}
	p.Cursor = from.String()
	return p, nil
}

// kept is an error if events after the position have been swept away: a reader who goes on from there would miss them.
func kept(ctx context.Context, db postgres.Querier, after Position) error {
	if after == (Position{}) {
		return nil
	}
	swept, err := position(ctx, db, sweptName)
	if err != nil {
		return err
	}
	if after.Before(swept) {
		return errs.InvalidField("after", "is older than the events that are kept: read everything anew")
	}
	return nil
}

// position gives how far a consumer has come; zero if it has never begun.
func position(ctx context.Context, db postgres.Querier, consumer string) (Position, error) {
	var p struct {
		Xid uint64
		ID  int64
	}
	err := db.Scan(ctx, db.NewSelect().TableExpr("event_positions").ColumnExpr("xid::text::bigint AS xid, id").
		Where("consumer = ?", consumer), &p)
	if err = postgres.Error(err, "position"); errs.Is(err, errs.NotFound) {
		return Position{}, nil
	}
	return Position{p.Xid, p.ID}, err
}

// moveTo notes how far a consumer has come.
func moveTo(ctx context.Context, db bun.IDB, consumer string, p Position) error {
	_, err := db.NewRaw("INSERT INTO event_positions (consumer, xid, id) VALUES (?, ?::xid8, ?) "+
		"ON CONFLICT (consumer) DO UPDATE SET xid = excluded.xid, id = excluded.id, moved_at = now()",
		postgres.Arg(consumer), postgres.Arg(strconv.FormatUint(p.XID, 10)), postgres.Arg(p.ID)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("note the position of %s: %w", consumer, err)
	}
	return nil
}
