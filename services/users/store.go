package users

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/events"
	"github.com/trackway/trackway/services/platform/mail"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/postgres"
	"github.com/trackway/trackway/services/platform/telemetry"
	"github.com/trackway/trackway/services/platform/write"
)

// store holds every SQL statement of the service.
type store struct{ db *write.DB }

// live selects the users that are not deleted.
func (s store) live() *bun.SelectQuery { return s.db.NewSelect().Where("u.deleted_at IS NULL") }

// get gives one user.
func (s store) get(ctx context.Context, id int64) (*user, error) {
	u := new(user)
	err := s.db.Scan(ctx, s.live().Model(u).Where("u.id = ?", postgres.Arg(id)), u)
	return u, postgres.Error(err, "user")
}

// getByEmail gives the user with the address, in whatever case it is written.
func (s store) getByEmail(ctx context.Context, email string) (*user, error) {
	u := new(user)
	err := s.live().Model(u).Where("lower(u.email) = lower(?)", email).Scan(ctx)
	return u, postgres.Error(err, "user")
}

// batchGet gives the users among the ids that exist, without what signs them in.
func (s store) batchGet(ctx context.Context, ids []int64) ([]*user, error) {
	var users []*user
	err := s.db.Scan(ctx, s.live().Model(&users).ExcludeColumn("password_hash", "proved_email").
		Where("u.id = ANY(?)", postgres.ArrayArg(ids)), &users)
	return users, postgres.Error(err, "user")
}

// userFilter narrows a list of users.
type userFilter struct {
	search string
	active *bool
	role   int32
}

// list gives one page of users.
func (s store) list(ctx context.Context, f userFilter, q *page.Query[*user]) (page.Page[*user], error) {
	sel := page.Search(s.live().ColumnExpr("?TableColumns"), f.search)
	if f.active != nil {
		sel = sel.Where("u.active = ?", postgres.Arg(*f.active))
	}
	if f.role != 0 {
		sel = sel.Where("u.role = ?", postgres.Arg(f.role))
	}
	p, err := q.Select(ctx, s.db, sel)
	return p, postgres.Error(err, "user")
}

// hold locks users, in one order, so that what happens to one of them at the same time comes before or afterwards as a whole.
func hold(ctx context.Context, tx postgres.Tx, ids ...int64) error {
	_, err := tx.NewSelect().Model((*user)(nil)).Column("id").Where("u.id IN (?)", bun.List(ids)).OrderExpr("u.id").For("UPDATE").Exec(ctx)
	return err
}

// requireLive is Unauthenticated if the session or personal access token of the caller, who is held, has ended. Its access
// tokens are accepted for a few seconds more, and what lasts longer than that must not be made with them.
func requireLive(ctx context.Context, tx postgres.Tx) error {
	c := auth.CallerFrom(ctx)
	var ended bool
	err := tx.NewRaw(`SELECT EXISTS (SELECT FROM sessions WHERE user_id = ?0 AND id::text = ?1 AND revoked_at IS NOT NULL)
			OR EXISTS (SELECT FROM tokens WHERE user_id = ?0 AND 'token:' || id = ?1 AND revoked_at IS NOT NULL)`,
		c.UserID, c.SessionID).Scan(ctx, &ended)
	if err == nil && ended {
		err = errs.New(errs.Unauthenticated, "The access token is not valid.")
	}
	return err
}

// create adds the user. The answer has the e-mail: whoever makes an account knows it.
func (s store) create(ctx context.Context, u *user) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if u.governs() {
			if err := hold(ctx, tx, auth.CallerFrom(ctx).UserID); err != nil {
				return write.Change{}, err
			}
			if err := requireLive(ctx, tx); err != nil {
				return write.Change{}, err
			}
		}
		_, err := tx.NewInsert().Model(u).Returning("id, version, created_at, updated_at").Exec(ctx)
		return write.Changed(u.proto(u.caller()), u.event("created")), err
	})
}

// update writes the user's fields over the version it was read at, or is write.ErrRaced, and ends the sessions that it
// is to sign out. When resigns is set, another admin has to remain.
func (s store) update(ctx context.Context, u *user, resigns bool, out signOut, happened ...events.Event) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		var err error
		switch {
		case resigns:
			err = requireOtherAdmin(ctx, tx, u.ID)
		case len(happened) > 0: // more than the name
			err = hold(ctx, tx, auth.CallerFrom(ctx).UserID, u.ID)
		}
		if err != nil {
			return write.Change{}, err
		}
		err = write.Row(ctx, tx, u, tx.NewUpdate().Model(u).
			Column("name", "email", "role", "active", "password_hash").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(u.ID), postgres.Arg(u.Version)).
			Returning("version, updated_at"))
		if err == nil && len(happened) > 0 {
			err = requireLive(ctx, tx)
		}
		if err != nil {
			return write.Change{}, err
		}
		ended, err := out.apply(ctx, tx, u.ID)
		return write.Changed(u.proto(auth.CallerFrom(ctx)), slices.Concat(ended, happened, []events.Event{u.event("updated")})...), err
	})
}

// remove deletes the user softly at the version it was read at, or is write.ErrRaced. When resigns is set, another
// admin has to remain.
func (s store) remove(ctx context.Context, u *user, resigns bool) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		if resigns {
			if err := requireOtherAdmin(ctx, tx, u.ID); err != nil {
				return write.Change{}, err
			}
		}
		err := write.Row(ctx, tx, u, tx.NewUpdate().Model(u).
			Set("version = version + 1, updated_at = now(), deleted_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(u.ID), postgres.Arg(u.Version)).
			Returning("version, updated_at"))
		if err != nil {
			return write.Change{}, err
		}
		// Whom the provider knows may come again, to a new account.
		ended, err := signOut{all: true, tokens: true, identities: true}.apply(ctx, tx, u.ID)
		return write.Changed(&emptypb.Empty{}, append(ended, u.event("deleted"))...), err
	})
}

// requireOtherAdmin is a Conflict when the user is the only active admin. It locks the rows of all of them and of the
// caller, in one order, so that of admins who resign at the same time each sees what those before it have done.
func requireOtherAdmin(ctx context.Context, tx postgres.Tx, id int64) error {
	const governs = "u.role = 2 AND u.active AND u.deleted_at IS NULL"
	var others []bool
	err := tx.NewSelect().Model((*user)(nil)).ColumnExpr(governs+" AND u.id <> ?", id).
		Where(governs).WhereOr("u.id = ?", auth.CallerFrom(ctx).UserID).
		OrderExpr("u.id").For("UPDATE").Scan(ctx, &others)
	if err != nil {
		return err
	}
	if !slices.Contains(others, true) {
		return errs.New(errs.Conflict, "This is the last active administrator. Make another user one first.")
	}
	return nil
}

// changePassword writes the user's password over the version it was read at, or is write.ErrRaced.
func (s store) changePassword(ctx context.Context, u *user, out signOut) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := write.Row(ctx, tx, u, tx.NewUpdate().Model(u).
			Column("password_hash").
			Set("version = version + 1, updated_at = now()").
			Where("id = ? AND version = ? AND deleted_at IS NULL", postgres.Arg(u.ID), postgres.Arg(u.Version)).
			Returning("version, updated_at"))
		if err != nil {
			return write.Change{}, err
		}
		ended, err := out.apply(ctx, tx, u.ID)
		return write.Changed(&emptypb.Empty{}, append(ended, u.security("password.changed"), u.event("updated"))...), err
	})
}

// rehash replaces the hash of the user's password by another of the same password, or is write.ErrRaced. For everybody
// else that changes nothing: there is no new version and no event.
func (s store) rehash(ctx context.Context, u *user, hash string) error {
	err := write.Row(ctx, s.db, u, s.db.NewUpdate().Model((*user)(nil)).
		Set("password_hash = ?", postgres.Arg(hash)).
		Where("u.id = ? AND u.password_hash = ? AND u.deleted_at IS NULL", postgres.Arg(u.ID), postgres.Arg(u.PasswordHash)).
		Returning("id"))
	if err == nil {
		u.PasswordHash = hash
	}
	return postgres.Error(err, "user")
}

// createSession adds a session of the user, who must be as it was when its password was compared, or is write.ErrRaced:
// a change that signs the user out ends the sessions that there are, and must not miss one that begins meanwhile.
// The answer, which is tokens, is not stored.
func (s store) createSession(ctx context.Context, ses *session, u *user) error {
	return write.Tx(ctx, s.db, "session", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := tx.NewSelect().Model(u).
			Where("u.id = ? AND u.password_hash = ? AND u.active AND u.deleted_at IS NULL", u.ID, u.PasswordHash).
			For("SHARE").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return write.Change{}, write.ErrRaced
		}
		if err != nil {
			return write.Change{}, err
		}
		_, err = tx.NewInsert().Model(ses).Returning("version, created_at, last_used_at").Exec(ctx)
		if err != nil {
			return write.Change{}, err
		}
		ended, err := endExcess(ctx, tx, ses)
		return write.Changed(&emptypb.Empty{}, append(ended, ses.event("created"))...), err
	})
}

// endExcess ends what a user has of sessions beyond those that a user may have, of which the new one is, the one first that
// was not used for longest. It waits for none that is used just now.
func endExcess(ctx context.Context, tx postgres.Tx, begun *session) (happened []events.Event, err error) {
	var ended []*session
	_, err = tx.NewUpdate().Model(&ended).
		Set("version = version + 1, revoked_at = clock_timestamp()").
		Where(`s.id IN (SELECT id FROM sessions WHERE revoked_at IS NULL AND id IN (
				SELECT id FROM sessions WHERE user_id = ? AND id <> ? AND revoked_at IS NULL AND expires_at > now()
				ORDER BY last_used_at DESC, id OFFSET ? LIMIT ?
			) FOR UPDATE SKIP LOCKED)`, begun.UserID, begun.ID, maxSessions-1, maxSessions).
		Returning("s.id, s.user_id, s.version").Exec(ctx)
	for _, s := range ended {
		happened = append(happened, s.event("revoked"))
	}
	return happened, err
}

// useSession locks the session and its user, and does to them what decide says a refresh token comes to.
func (s store) useSession(ctx context.Context, id string, decide func(*user, *session) refreshUse) (*user, *session, error) {
	u, ses := new(user), new(session)
	err := write.Tx(ctx, s.db, "session", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		// The user first, as those do who sign it out: so that nobody waits for one who waits for them.
		err := tx.NewSelect().Model(u).
			Where("u.id = (SELECT user_id FROM sessions WHERE id = ?) AND u.deleted_at IS NULL", id).
			For("SHARE").Scan(ctx)
		if err != nil {
			return write.Change{}, err
		}
		if err := tx.NewSelect().Model(ses).Where("s.id = ?", id).For("UPDATE").Scan(ctx); err != nil {
			return write.Change{}, err
		}
		switch decide(u, ses) {
		case refreshRotated:
			_, err := tx.NewUpdate().Model(ses).Column("refresh_hash", "salt", "last_used_at").WherePK().Exec(ctx)
			return write.Changed(&emptypb.Empty{}), err
		case refreshReused:
			_, err := tx.NewUpdate().Model(ses).
				Set("version = version + 1, revoked_at = clock_timestamp()").WherePK().Returning("version").Exec(ctx)
			return write.Changed(&emptypb.Empty{}, ses.event("reused")), err
		case refreshRefused, refreshRepeated:
		}
		return write.Changed(&emptypb.Empty{}), nil
	})
	return u, ses, err
}

// maxSessions is how many sessions a user has, and so a list holds, at most.
const maxSessions = 200

// listSessions gives the sessions of the user that have not ended, the one used last first.
func (s store) listSessions(ctx context.Context, userID int64) ([]*session, error) {
	var sessions []*session
	err := s.db.NewSelect().Model(&sessions).
		Where("s.user_id = ? AND s.revoked_at IS NULL AND s.expires_at > now()", userID).
		OrderExpr("s.last_used_at DESC, s.id").Limit(maxSessions).Scan(ctx)
	return sessions, postgres.Error(err, "session")
}

// signOut says which sessions of a user end: one of them, all, or all but one; and whether all its personal access
// tokens, the links that were mailed, and whom it is at the provider do. The zero signOut is none.
type signOut struct {
	one        string
	all        bool
	but        string
	tokens     bool
	links      bool // those that were mailed
	identities bool
}

// endSessions ends sessions of the user. One that is not there, or not any more, is NotFound.
func (s store) endSessions(ctx context.Context, userID int64, out signOut) error {
	return write.Tx(ctx, s.db, "session", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		ended, err := out.apply(ctx, tx, userID)
		if err == nil && out.one != "" && len(ended) == 0 {
			err = sql.ErrNoRows
		}
		return write.Changed(&emptypb.Empty{}, ended...), err
	})
}

// apply ends the sessions and tokens, and gives the events of that, or none if there were no such. Their time is the
// clock's, and not the transaction's, which may be long ago for those who ask what ended since.
func (o signOut) apply(ctx context.Context, tx postgres.Tx, userID int64) (ended []events.Event, err error) {
	if o == (signOut{}) {
		return nil, nil
	}
	if o.links {
		if _, err := tx.NewDelete().Model((*link)(nil)).Where("l.user_id = ?", userID).Exec(ctx); err != nil {
			return nil, err
		}
	}
	if o.identities {
		if _, err := tx.NewDelete().Model((*identity)(nil)).Where("i.user_id = ?", userID).Exec(ctx); err != nil {
			return nil, err
		}
	}
	if o.all || o.one != "" {
		ended, err = o.endSessions(ctx, tx, userID)
	}
	if err != nil || !o.tokens {
		return ended, err
	}
	all := &token{UserID: userID}
	res, err := tx.NewUpdate().Model((*token)(nil)).
		Set("version = version + 1, revoked_at = clock_timestamp()").
		Where("t.user_id = ? AND t.revoked_at IS NULL AND t.expires_at > ?", postgres.Arg(userID), postgres.Arg(accepted())).Exec(ctx)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return ended, err
	}
	return append(ended, all.event("revoked")), nil
}

// accepted is when the sessions and tokens expired whose last access token may be accepted until now.
func accepted() time.Time { return time.Now().Add(-auth.Skew) }

func (o signOut) endSessions(ctx context.Context, tx postgres.Tx, userID int64) ([]events.Event, error) {
	ses := &session{UserID: userID}
	q := tx.NewUpdate().Model((*session)(nil)).
		Set("version = version + 1, revoked_at = clock_timestamp()").
		Where("s.user_id = ? AND s.revoked_at IS NULL AND s.expires_at > ?", userID, accepted())
	if !o.all {
		ses.ID, ses.Version = o.one, 2 // a session is revoked once
		q = q.Where("s.id::text = ?", o.one)
	}
	if o.but != "" {
		q = q.Where("s.id::text <> ?", o.but)
	}
	res, err := q.Exec(ctx)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return nil, err
	}
	return []events.Event{ses.event("revoked")}, nil
}

// overlap is how far back a list of what ended goes beyond what was asked for: longer than a transaction can take that
// had set its time before the list was read, and was committed after.
const overlap = time.Minute

// listRevoked gives the sids of the sessions and tokens that were revoked since then, and within the lifetime. It leaves out
// those that have given out nothing that could still be accepted, of which a user may have collected any number: they have
// not been used for longer than a lifetime and what a use may be noted too early.
func (s store) listRevoked(ctx context.Context, since time.Time, lifetime time.Duration) (ids []string, readAt time.Time, err error) {
	err = s.db.NewRaw(`SELECT coalesce(array_agg(sid), '{}'), now() FROM (
			SELECT id::text AS sid, revoked_at, last_used_at FROM sessions
			UNION ALL SELECT 'token:' || id, revoked_at, last_used_at FROM tokens
		) AS ended WHERE revoked_at > greatest(now() - ? * interval '1 second', ?::timestamptz)
			AND last_used_at > now() - ? * interval '1 second'`,
		lifetime.Seconds(), since.Add(-overlap), (lifetime+max(reusable, useEvery)+overlap).Seconds()).
		Scan(ctx, pgdialect.Array(&ids), &readAt)
	return ids, readAt, postgres.Error(err, "session")
}

const (
	purgeEvery   = time.Hour
	purgeTimeout = 10 * time.Second
	purgeBatch   = 10_000
)

// purge deletes sessions and tokens that ended before then, so many at a time that no statement takes long, and tells
// whether there may be more.
func (s store) purge(ctx context.Context, before time.Time) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	for _, table := range []string{"links", "sign_ins", "sign_in_codes", "id_token_nonces"} {
		if _, err := s.db.NewRaw("DELETE FROM ? WHERE expires_at < now()", bun.Ident(table)).Exec(ctx); err != nil {
			return false, fmt.Errorf("purge %s: %w", table, err)
		}
	}
	for _, table := range []string{"sessions", "tokens"} {
		res, err := s.db.NewRaw(`DELETE FROM ?0 WHERE id IN (SELECT id FROM ?0 WHERE expires_at < ?1 OR revoked_at < ?1 LIMIT ?2)`,
			bun.Ident(table), before, purgeBatch).Exec(ctx)
		if err != nil {
			return false, fmt.Errorf("purge %s: %w", table, err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return false, err
		}
		more = more || n == purgeBatch
	}
	return more, nil
}

// liveTokens selects the tokens of a user that have not ended.
func (s store) liveTokens(userID int64) *bun.SelectQuery {
	return s.db.NewSelect().Where("t.user_id = ? AND t.revoked_at IS NULL AND t.expires_at > now()", userID)
}

// createToken adds a token, unless the user has as many as one may have. Its answer is stored without the secret.
func (s store) createToken(ctx context.Context, t *token) error {
	return write.Tx(ctx, s.db, "token", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		u := new(user)
		err := tx.NewSelect().Model(u).
			Where("u.id = ? AND u.active AND u.deleted_at IS NULL", t.UserID).For("UPDATE").Scan(ctx)
		if err == nil {
			err = requireLive(ctx, tx)
		}
		if err != nil {
			return write.Change{}, err
		}
		n, err := s.liveTokens(t.UserID).Conn(tx).Model((*token)(nil)).Count(ctx)
		if err != nil {
			return write.Change{}, err
		}
		if n >= maxTokens {
			return write.Change{}, errs.New(errs.Conflict, "You have %d tokens. Delete one first.", n)
		}
		_, err = tx.NewInsert().Model(t).Returning("id, version, created_at").Exec(ctx)
		return write.Changed(t.proto(), t.event("created")), err
	})
}

// getToken gives one of the user's tokens that have not ended.
func (s store) getToken(ctx context.Context, userID, id int64) (*token, error) {
	t := new(token)
	err := s.liveTokens(userID).Model(t).Where("t.id = ?", id).Scan(ctx)
	return t, postgres.Error(err, "token")
}

// listTokens gives the tokens of the user that have not ended, the newest first.
func (s store) listTokens(ctx context.Context, userID int64) ([]*token, error) {
	var tokens []*token
	err := s.liveTokens(userID).Model(&tokens).OrderExpr("t.id DESC").Limit(maxTokens).Scan(ctx)
	return tokens, postgres.Error(err, "token")
}

// endToken ends one of the user's tokens. One that is not there, or not any more, is NotFound.
func (s store) endToken(ctx context.Context, userID, id int64) error {
	return write.Tx(ctx, s.db, "token", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		t := &token{ID: id, UserID: userID, Version: 2} // a token is revoked once
		res, err := tx.NewUpdate().Model(t).
			Set("version = version + 1, revoked_at = clock_timestamp()").
			Where("id = ? AND user_id = ? AND revoked_at IS NULL AND expires_at > ?",
				postgres.Arg(id), postgres.Arg(userID), postgres.Arg(accepted())).Exec(ctx)
		if err != nil {
			return write.Change{}, err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return write.Change{}, errors.Join(err, sql.ErrNoRows)
		}
		return write.Changed(&emptypb.Empty{}, t.event("revoked")), nil
	})
}

// useToken gives the token with the hash and its user, if both may still be used, and notes the use now and then.
func (s store) useToken(ctx context.Context, hash []byte) (*user, *token, error) {
	t, u := new(token), new(user)
	err := s.db.NewSelect().Model(t).
		Where("t.hash = ? AND t.revoked_at IS NULL AND t.expires_at > now()", hash).Scan(ctx)
	if err != nil {
		return u, t, postgres.Error(err, "token")
	}
	if err := s.live().Model(u).Where("u.id = ? AND u.active", t.UserID).Scan(ctx); err != nil {
		return u, t, postgres.Error(err, "token")
	}
	if time.Since(t.LastUsedAt) < useEvery {
		return u, t, nil
	}
	_, err = s.db.NewUpdate().Model((*token)(nil)).Set("last_used_at = now()").
		Where("t.id = ? AND coalesce(t.last_used_at, '-infinity') < now() - ? * interval '1 second'", t.ID, useEvery.Seconds()).
		Exec(ctx)
	return u, t, postgres.Error(err, "token")
}

// requestReset notes that somebody asks for a link to set a password.
func (s store) requestReset(ctx context.Context, email string) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		_, err := tx.NewInsert().Model(&reset{Email: email, Traceparent: telemetry.Traceparent(ctx)}).Exec(ctx)
		return write.Changed(&emptypb.Empty{}), err
	})
}

// nextReset is the request for a link that has waited longest; NotFound if there is none.
func (s store) nextReset(ctx context.Context) (*reset, error) {
	r := new(reset)
	err := s.db.NewSelect().Model(r).Column("id", "traceparent").Order("id").Limit(1).Scan(ctx)
	return r, postgres.Error(err, "reset")
}

// takeReset takes a request for a link, unless somebody else has, and makes the link and the mail of it if there is such
// a user, and none was mailed in the pause before.
func (s store) takeReset(ctx context.Context, id int64, pause time.Duration, compose func(*user) (*link, mail.Message)) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		r := &reset{ID: id}
		err := tx.NewDelete().Model(r).WherePK().Returning("email").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return write.Changed(&emptypb.Empty{}), nil
		}
		if err != nil {
			return write.Change{}, err
		}
		u := new(user)
		err = tx.NewSelect().Model(u).Where("lower(u.email) = lower(?) AND u.active AND u.deleted_at IS NULL", r.Email).
			For("UPDATE").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return write.Changed(&emptypb.Empty{}), nil
		}
		if err != nil {
			return write.Change{}, err
		}
		lately, err := tx.NewSelect().Model((*link)(nil)).
			Where("l.user_id = ? AND l.purpose = ? AND l.created_at > ?", u.ID, setPassword, time.Now().Add(-pause)).Exists(ctx)
		if err != nil || lately {
			return write.Changed(&emptypb.Empty{}), err
		}
		l, m := compose(u)
		return write.Changed(&emptypb.Empty{}), errors.Join(putLink(ctx, tx, l), mail.Queue(ctx, tx, m))
	})
}

// putLink makes the link the only one of its user for its purpose.
func putLink(ctx context.Context, tx postgres.Tx, l *link) error {
	_, err := tx.NewInsert().Model(l).On("CONFLICT (user_id, purpose) DO UPDATE").
		Set("hash = EXCLUDED.hash, email = EXCLUDED.email, expires_at = EXCLUDED.expires_at, created_at = now()").Exec(ctx)
	return err
}

// createLink adds the link to another address, and queues its mail, if the user is as it was when its password was
// compared, or is write.ErrRaced: a change that ends the user's links must not miss one that is made meanwhile. It is
// RateLimited when the user has been mailed one in the pause before.
func (s store) createLink(ctx context.Context, l *link, u *user, m mail.Message) error {
	return write.Tx(ctx, s.db, "link", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		err := tx.NewSelect().Model(u).
			Where("u.id = ? AND u.password_hash = ? AND u.email = ? AND u.active AND u.deleted_at IS NULL", u.ID, u.PasswordHash, u.Email).
			For("UPDATE").Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return write.Change{}, write.ErrRaced
		}
		if err != nil {
			return write.Change{}, err
		}
		var lately bool
		var mailed int // to the address
		err = tx.NewRaw(`SELECT EXISTS (SELECT FROM links WHERE user_id = ?0 AND purpose = ?1 AND created_at > ?2),
			(SELECT count(*) FROM links WHERE lower(email) = lower(?3) AND purpose = ?1 AND expires_at > now())`,
			u.ID, setEmail, time.Now().Add(-linkPause), l.Email).Scan(ctx, &lately, &mailed)
		if err != nil {
			return write.Change{}, err
		}
		if lately {
			e := errs.New(errs.RateLimited, "A link has just been mailed. Ask for another one in a minute.")
			e.Retry = linkPause
			return write.Change{}, e
		}
		if mailed < linksToOne {
			err = mail.Queue(ctx, tx, m)
		}
		return write.Changed(&emptypb.Empty{}, u.security("email.asked")), errors.Join(err, putLink(ctx, tx, l))
	})
}

// link gives a link that still works.
func (s store) link(ctx context.Context, what purpose, hash []byte) (*link, error) {
	l := new(link)
	err := s.db.NewSelect().Model(l).Where("l.hash = ? AND l.purpose = ? AND l.expires_at > now()", hash, what).Scan(ctx)
	return l, postgres.Error(err, "link")
}

// linkUse is what the use of a link does to its user.
type linkUse struct {
	columns  []string // that it changes
	happened string
	out      signOut
	tell     mail.Message
}

// useLink uses a link up, and does to its user, who is locked, what decide says.
func (s store) useLink(ctx context.Context, what purpose, hash []byte, decide func(*user, *link) linkUse) error {
	return write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		// The user first, as those do who end its links.
		u, l := new(user), new(link)
		err := tx.NewSelect().Model(u).
			Where("u.id = (SELECT user_id FROM links WHERE hash = ?) AND u.active AND u.deleted_at IS NULL", hash).
			For("UPDATE").Scan(ctx)
		if err != nil {
			return write.Change{}, err
		}
		err = tx.NewDelete().Model(l).Where("l.hash = ? AND l.purpose = ? AND l.expires_at > now()", hash, what).
			Returning("*").Scan(ctx)
		if err != nil {
			return write.Change{}, err
		}
		use := decide(u, l)
		_, err = tx.NewUpdate().Model(u).Column(use.columns...).Set("version = version + 1, updated_at = now()").WherePK().
			Returning("version, updated_at").Exec(ctx)
		if err != nil {
			return write.Change{}, err
		}
		ended, err := use.out.apply(ctx, tx, u.ID)
		return write.Changed(&emptypb.Empty{}, append(ended, u.security(use.happened), u.event("updated"))...),
			errors.Join(err, mail.Queue(ctx, tx, use.tell))
	})
}

// listEvents gives one page of the audit trail, of one user or, for 0, of all.
func (s store) listEvents(ctx context.Context, userID int64, types []string, q *page.Query[*event]) (page.Page[*event], error) {
	sel := s.db.NewSelect().Where("e.type = ANY(?)", postgres.Literal(pgdialect.Array(types)))
	if userID != 0 {
		sel = sel.Where("e.subject_id = ? AND e.type <> 'user.updated'", userID)
	}
	p, err := q.Select(ctx, s.db, sel)
	return p, postgres.Error(err, "event")
}

// beginSignIn remembers a sign-in whose browser goes to the provider.
func (s store) beginSignIn(ctx context.Context, going *signIn) error {
	_, err := s.db.NewInsert().Model(going).Exec(ctx)
	return postgres.Error(err, "sign-in")
}

// takeSignIn takes out the sign-in that a browser comes back with. Another browser's is left to it.
func (s store) takeSignIn(ctx context.Context, hash, browser []byte) (*signIn, error) {
	going := new(signIn)
	err := s.db.NewDelete().Model(going).Where("hash = ? AND browser_hash = ? AND expires_at > now()", hash, browser).
		Returning("*").Scan(ctx)
	return going, postgres.Error(err, "sign-in")
}

// createCode keeps what the provider said until the app asks for it.
func (s store) createCode(ctx context.Context, code *signInCode) error {
	_, err := s.db.NewInsert().Model(code).Exec(ctx)
	return postgres.Error(err, "code")
}

// takeCode takes it out.
func (s store) takeCode(ctx context.Context, hash []byte) (*signInCode, error) {
	code := new(signInCode)
	err := s.db.NewDelete().Model(code).Where("hash = ? AND expires_at > now()", hash).Returning("*").Scan(ctx)
	return code, postgres.Error(err, "code")
}

// useNonce uses a nonce up, and reports whether it was there to be used.
func (s store) useNonce(ctx context.Context, hash []byte, until time.Time) (bool, error) {
	res, err := s.db.NewRaw("INSERT INTO id_token_nonces (hash, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING", hash, until).Exec(ctx)
	if err != nil {
		return false, postgres.Error(err, "nonce")
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// userOf gives the user that the provider's subject is.
func (s store) userOf(ctx context.Context, issuer, subject string) (*user, error) {
	u := new(user)
	err := s.live().Model(u).
		Where("u.id = (SELECT user_id FROM identities WHERE issuer = ? AND subject = ?)", issuer, subject).Scan(ctx)
	return u, postgres.Error(err, "user")
}

// adoption is what happens to an account that gets an identity.
type adoption struct {
	out  signOut
	tell mail.Message
}

// linkIdentity makes the identity that of the user with the newcomer's address, to whom decide says what happens; or of the
// newcomer, where there is none. It is write.ErrRaced when another sign-in of the same came first.
func (s store) linkIdentity(ctx context.Context, id *identity, newcomer *user, decide func(*user) (adoption, error)) (*user, error) {
	u := new(user)
	err := write.Tx(ctx, s.db, "user", func(ctx context.Context, tx postgres.Tx) (write.Change, error) {
		var happened []events.Event
		err := tx.NewSelect().Model(u).Where("lower(u.email) = lower(?) AND u.deleted_at IS NULL", newcomer.Email).For("UPDATE").Scan(ctx)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			*u = *newcomer
			if _, err := tx.NewInsert().Model(u).Returning("id, version, created_at, updated_at").Exec(ctx); err != nil {
				return write.Change{}, err
			}
			happened = []events.Event{u.event("created")}
		case err != nil:
			return write.Change{}, err
		case !sameAddress(u.Email, newcomer.Email): // though it is in Postgres' lower case
			return write.Change{}, errs.New(errs.Denied, "Your e-mail address can not be told from that of another account.")
		default:
			if happened, err = adoptUser(ctx, tx, id, u, decide); err != nil {
				return write.Change{}, err
			}
		}
		id.UserID = u.ID
		_, err = tx.NewInsert().Model(id).ExcludeColumn("created_at").Exec(ctx)
		return write.Changed(&emptypb.Empty{}, append(happened, u.security("identity.linked"))...), err
	})
	if postgres.Constraint(err, "identities_pkey") || postgres.Constraint(err, "users_email_key") {
		return nil, write.ErrRaced
	}
	return u, err
}

// adoptUser does to the user, who is locked, what decide says.
func adoptUser(ctx context.Context, tx postgres.Tx, id *identity, u *user, decide func(*user) (adoption, error)) ([]events.Event, error) {
	var has []string // at most one
	err := tx.NewSelect().Model((*identity)(nil)).Column("subject").Where("i.user_id = ? AND i.issuer = ?", u.ID, id.Issuer).Scan(ctx, &has)
	switch {
	case err != nil:
		return nil, err
	case slices.Contains(has, id.Subject): // since it was looked for
		return nil, write.ErrRaced
	case len(has) > 0:
		return nil, errs.New(errs.Conflict, "The account with your e-mail address is that of another account at the provider. Ask an administrator for help.")
	}
	before := *u
	then, err := decide(u)
	if err != nil {
		return nil, err
	}
	happened, err := then.out.apply(ctx, tx, u.ID)
	if err == nil && *u != before {
		_, err = tx.NewUpdate().Model(u).Column("password_hash", "proved_email").Set("version = version + 1, updated_at = now()").WherePK().
			Returning("version, updated_at").Exec(ctx)
		if before.PasswordHash != u.PasswordHash {
			happened = append(happened, u.security("password.removed"))
		}
		happened = append(happened, u.event("updated"))
	}
	return happened, errors.Join(err, mail.Queue(ctx, tx, then.tell))
}

// holdKeys notes that the keys are here now, and forgets those that nobody has had for as long as keep.
func (s store) holdKeys(ctx context.Context, keys []*signingKey, keep time.Duration) error {
	_, err := s.db.NewInsert().Model(&keys).ExcludeColumn("seen_at", "held_at").On("CONFLICT (id) DO UPDATE").
		Set("held_at = now()").Exec(ctx)
	if err != nil {
		return postgres.Error(err, "key")
	}
	_, err = s.db.NewDelete().Model((*signingKey)(nil)).Where("k.held_at < now() - ? * interval '1 second'", keep.Seconds()).Exec(ctx)
	return postgres.Error(err, "key")
}

// listKeys gives the keys that somebody had lately, and which of them have been known for as long as delay.
func (s store) listKeys(ctx context.Context, keep, delay time.Duration) ([]*signingKey, error) {
	var keys []*signingKey
	err := s.db.NewSelect().Model(&keys).ColumnExpr("k.*, k.seen_at <= now() - ? * interval '1 second' AS known", delay.Seconds()).
		Where("k.held_at >= now() - ? * interval '1 second'", keep.Seconds()).OrderExpr("k.seen_at, k.id").Scan(ctx)
	return keys, postgres.Error(err, "key")
}
