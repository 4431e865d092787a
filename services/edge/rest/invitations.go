package rest

import (
	"context"
	"fmt"
	"net/http"
	"time"

	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// Invitation asks the reader of a mailbox to join a project.
type Invitation struct {
	ID        int64      `json:"id" minimum:"1" example:"1" doc:"The id."`
	CreatedAt time.Time  `json:"created_at" example:"2026-01-31T09:30:00Z" doc:"When it was made."`
	ExpiresAt time.Time  `json:"expires_at" example:"2026-02-07T09:30:00Z" doc:"Until when it can be accepted."`
	ProjectID int64      `json:"project_id" minimum:"1" example:"1" doc:"The project."`
	Email     string     `json:"email" format:"email" maxLength:"254" example:"ada@example.com" doc:"Where it was mailed."`
	Role      MemberRole `json:"role" example:"member" doc:"What whoever accepts it may do in the project."`
	InviterID int64      `json:"inviter_id" minimum:"1" example:"1" doc:"The user who invites."`
}

func newInvitation(i *projectsv1.Invitation) Invitation {
	return Invitation{
		ID: i.GetId(), CreatedAt: moment(i.GetCreatedAt()), ExpiresAt: moment(i.GetExpiresAt()), ProjectID: i.GetProjectId(),
		Email: i.GetEmail(), Role: memberRoles.rest(i.GetRole()), InviterID: i.GetInviterId(),
	}
}

// InvitationCreation is what makes an invitation.
type InvitationCreation struct {
	Email string     `json:"email" format:"email" minLength:"3" maxLength:"254" example:"ada@example.com" doc:"Whom to invite."`
	Role  MemberRole `json:"role,omitempty" nullable:"true" doc:"What whoever accepts it may do in the project; member when absent. No more than the inviter's own role, and never owner."`
}

// Acceptance is what accepts an invitation.
type Acceptance struct {
	Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7E]*$" writeOnly:"true" example:"dGhpcyBpcyBvcGFxdWU" doc:"What the link in the mail has behind token=."`
}

// InvitationID are the ids in the path of an invitation.
type InvitationID struct {
	ID

	InvitationID int64 `path:"invitation_id" minimum:"1" example:"1" doc:"The id of the invitation."`
}

func (a *api) registerInvitations() {
	const (
		all = "/api/projects/{id}/invitations/"
		one = "/api/projects/{id}/invitations/{invitation_id}/"
	)
	register(a, operation(http.MethodGet, all, "listInvitations", tagMembers, "List the invitations to a project",
		"Gives those that can still be accepted, the newest first; for those who manage members."), a.listInvitations)
	register(a, operation(http.MethodPost, all, "createInvitation", tagMembers, "Invite somebody by e-mail",
		"Mails a link that works once, for a week. One to the same address that is still open ends. The invitations of a "+
			"member who may not invite any more end, too."), a.createInvitation)
	register(a, operation(http.MethodGet, one, "getInvitation", tagMembers, "Get an invitation",
		"Gives one that can still be accepted."), a.getInvitation)
	register(a, operation(http.MethodDelete, one, "deleteInvitation", tagMembers, "End an invitation",
		"Makes the link work no more."), a.deleteInvitation)
	register(a, answers200(operation(http.MethodPost, "/api/invitations/accept/", "acceptInvitation", tagMembers,
		"Accept an invitation", "Makes the caller a member, whose account must have the address that was invited. Without an "+
			"account, make one first.")), a.acceptInvitation)
}

type invitationList struct {
	Body []Invitation `maxItems:"200"`
}

func (a *api) listInvitations(ctx context.Context, in *ID) (*invitationList, error) {
	res, err := a.projects.ListInvitations(ctx, &projectsv1.ListInvitationsRequest{ProjectId: in.ID})
	if err != nil {
		return nil, err
	}
	out := &invitationList{Body: make([]Invitation, 0, len(res.GetInvitations()))}
	for _, i := range res.GetInvitations() {
		out.Body = append(out.Body, newInvitation(i))
	}
	return out, nil
}

type invitationCreate struct {
	ID
	Create[InvitationCreation]
}

func (a *api) createInvitation(ctx context.Context, in *invitationCreate) (*Created[Invitation], error) {
	return create(ctx, in.Keyed, fmt.Sprintf("/api/projects/%d/invitations/", in.ID.ID), a.projects.CreateInvitation,
		&projectsv1.CreateInvitationRequest{
			ProjectId: in.ID.ID, Email: in.Body.Email, Role: memberRoles.proto(in.Body.Role),
		}, newInvitation)
}

func (a *api) getInvitation(ctx context.Context, in *InvitationID) (*Read[Invitation], error) {
	i, err := a.projects.GetInvitation(ctx, &projectsv1.GetInvitationRequest{ProjectId: in.ID.ID, Id: in.InvitationID})
	return read(i, err, newInvitation)
}

type invitationDelete struct {
	InvitationID
	Delete
}

func (a *api) deleteInvitation(ctx context.Context, in *invitationDelete) (*Written, error) {
	version, err := in.expected(ctx, func(ctx context.Context) (int64, error) {
		i, err := a.projects.GetInvitation(ctx, &projectsv1.GetInvitationRequest{ProjectId: in.ID.ID, Id: in.InvitationID.InvitationID})
		return i.GetVersion(), err
	})
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.projects.DeleteInvitation, &projectsv1.DeleteInvitationRequest{
		ProjectId: in.ID.ID, Id: in.InvitationID.InvitationID, ExpectedVersion: version,
	})
}

func (a *api) acceptInvitation(ctx context.Context, in *Create[Acceptance]) (*Changed[Member], error) {
	return change(ctx, in.Keyed, a.projects.AcceptInvitation,
		&projectsv1.AcceptInvitationRequest{Token: in.Body.Token}, newMember)
}
