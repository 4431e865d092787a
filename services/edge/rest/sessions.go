package rest

import (
	"context"
	"net/http"
	"time"

	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Session is one sign-in.
type Session struct {
	ID         string    `json:"id" format:"uuid" maxLength:"36" example:"8e03978e-40d5-43e8-bc93-6894a57f9324" doc:"The id; the sid of its access tokens."`
	CreatedAt  time.Time `json:"created_at" example:"2026-01-31T09:30:00Z" doc:"When its user signed in."`
	LastUsedAt time.Time `json:"last_used_at" example:"2026-01-31T09:30:00Z" doc:"When it last gave out tokens."`
	ExpiresAt  time.Time `json:"expires_at" example:"2026-03-02T09:30:00Z" doc:"When its user must sign in again."`
	Device     string    `json:"device" maxLength:"200" pattern:"^[\\x20-\\x7E]*$" example:"Trackway/1.0 (Android 16)" doc:"What the client called itself in User-Agent when it signed in."`
	Current    bool      `json:"current" doc:"Whether it is the session of this request."`
}

func newSession(s *usersv1.Session) Session {
	return Session{
		ID: s.GetId(), CreatedAt: moment(s.GetCreatedAt()), LastUsedAt: moment(s.GetLastUsedAt()),
		ExpiresAt: moment(s.GetExpiresAt()), Device: s.GetDevice(), Current: s.GetCurrent(),
	}
}

// Sessions are a caller's own: so few that they need no pages.
type Sessions struct {
	Body []Session `maxItems:"200"`
}

// SessionID is the id in a path.
type SessionID struct {
	ID string `path:"session_id" format:"uuid" maxLength:"36" example:"8e03978e-40d5-43e8-bc93-6894a57f9324" doc:"The id of the session."`
}

// NewPassword is a new password, and the old one.
type NewPassword struct {
	Current string `json:"current_password" format:"password" minLength:"1" maxLength:"200" writeOnly:"true" example:"correct horse battery staple" doc:"The password as it is."`
	New     string `json:"new_password" format:"password" minLength:"8" maxLength:"200" writeOnly:"true" example:"wrong donkey charger paperclip" doc:"The password as it is to be; none of the most common ones."`
}

func (a *api) registerSessions() {
	logout := operation(http.MethodPost, "/api/auth/logout/", "logout", tagAuth, "Sign out",
		"Ends the session of the access token: its refresh token stops working at once, the access token within five seconds.")
	logout.DefaultStatus = http.StatusNoContent
	register(a, logout, func(ctx context.Context, in *Keyed) (*Written, error) {
		return remove(ctx, *in, a.users.Logout, &usersv1.LogoutRequest{})
	})
	password := operation(http.MethodPost, "/api/auth/password/", "changePassword", tagAuth, "Change the password",
		"Changes the caller's own password, and ends all its other sessions.")
	password.DefaultStatus = http.StatusNoContent
	register(a, password, func(ctx context.Context, in *Create[NewPassword]) (*Written, error) {
		return remove(ctx, in.Keyed, a.users.ChangePassword, &usersv1.ChangePasswordRequest{
			CurrentPassword: in.Body.Current, NewPassword: in.Body.New,
		})
	})
	a.registerLinks()
	register(a, operation(http.MethodGet, "/api/users/me/sessions/", "listSessions", tagAuth, "List the caller's sessions",
		"Gives the sessions that have not ended, the one used last first; at most 200."), a.listSessions)
	register(a, operation(http.MethodDelete, "/api/users/me/sessions/{session_id}/", "deleteSession", tagAuth, "End a session",
		"Ends one of the caller's sessions, as signing out does there."), a.deleteSession)
	register(a, operation(http.MethodDelete, "/api/users/me/sessions/", "deleteSessions", tagAuth, "Sign out everywhere",
		"Ends all of the caller's sessions, the one of this request too."),
		func(ctx context.Context, in *Keyed) (*Written, error) {
			return remove(ctx, *in, a.users.DeleteSessions, &usersv1.DeleteSessionsRequest{})
		})
}

func (a *api) listSessions(ctx context.Context, _ *struct{}) (*Sessions, error) {
	res, err := a.users.ListSessions(ctx, &usersv1.ListSessionsRequest{})
	if err != nil {
		return nil, err
	}
	out := &Sessions{Body: make([]Session, 0, len(res.GetSessions()))}
	for _, s := range res.GetSessions() {
		out.Body = append(out.Body, newSession(s))
	}
	return out, nil
}

type deleteSession struct {
	SessionID
	Keyed
}

func (a *api) deleteSession(ctx context.Context, in *deleteSession) (*Written, error) {
	return remove(ctx, in.Keyed, a.users.DeleteSession, &usersv1.DeleteSessionRequest{Id: in.ID})
}
