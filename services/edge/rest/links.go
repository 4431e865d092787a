package rest

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// ResetRequest asks for a link that sets a new password.
type ResetRequest struct {
	Email string `json:"email" format:"email" minLength:"1" maxLength:"254" example:"ada@example.com" doc:"The address of the account."`
}

// Reset sets a new password by a link.
type Reset struct {
	Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7E]*$" writeOnly:"true" example:"dGhpcyBpcyBvcGFxdWU" doc:"What follows #token= in the link."`
	New   string `json:"new_password" format:"password" minLength:"8" maxLength:"200" writeOnly:"true" example:"wrong donkey charger paperclip" doc:"The password as it is to be; none of the most common ones."`
}

// NewEmail asks for a change of the address.
type NewEmail struct {
	Email   string `json:"email" format:"email" minLength:"3" maxLength:"254" example:"ada@example.com" doc:"The address as it is to be."`
	Current string `json:"current_password" format:"password" minLength:"1" maxLength:"200" writeOnly:"true" example:"correct horse battery staple" doc:"The password."`
}

// Confirmation follows a link.
type Confirmation struct {
	Token string `json:"token" minLength:"1" maxLength:"200" pattern:"^[\\x21-\\x7E]*$" writeOnly:"true" example:"dGhpcyBpcyBvcGFxdWU" doc:"What follows #token= in the link."`
}

func (a *api) registerLinks() {
	register(a, answers204(public(operation(http.MethodPost, "/api/auth/password/reset/request/", "requestPasswordReset", tagAuth,
		"Ask for a link to set a password", "Mails a link to the account with the address, if there is one. The answer is the same "+
			"whether or not there is."))), func(ctx context.Context, in *Create[ResetRequest]) (*Written, error) {
		return remove(ctx, in.Keyed, a.users.RequestPasswordReset, &usersv1.RequestPasswordResetRequest{Email: in.Body.Email})
	})
	register(a, answers204(public(operation(http.MethodPost, "/api/auth/password/reset/", "resetPassword", tagAuth,
		"Set a password by a link", "Sets a new password by the token of a link, which works once and for an hour. All sessions end."))),
		func(ctx context.Context, in *Create[Reset]) (*Written, error) {
			return remove(ctx, in.Keyed, a.users.ResetPassword,
				&usersv1.ResetPasswordRequest{Token: in.Body.Token, NewPassword: in.Body.New})
		})
	register(a, answers204(operation(http.MethodPost, "/api/auth/email/", "requestEmailChange", tagAuth, "Ask for another address",
		"Mails a link to the new address, by which it becomes the caller's.")),
		func(ctx context.Context, in *Create[NewEmail]) (*Written, error) {
			return remove(ctx, in.Keyed, a.users.RequestEmailChange,
				&usersv1.RequestEmailChangeRequest{Email: in.Body.Email, CurrentPassword: in.Body.Current})
		})
	register(a, answers204(public(operation(http.MethodPost, "/api/auth/email/confirm/", "confirmEmailChange", tagAuth,
		"Confirm another address", "Makes the new address the account's, by the token of a link, which works once and for an hour. "+
			"The old one is told."))), func(ctx context.Context, in *Create[Confirmation]) (*Written, error) {
		return remove(ctx, in.Keyed, a.users.ConfirmEmailChange, &usersv1.ConfirmEmailChangeRequest{Token: in.Body.Token})
	})
}

// answers204 makes an operation one whose answer has no body.
func answers204(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusNoContent
	return op
}
