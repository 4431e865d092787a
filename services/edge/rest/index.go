package rest

import (
	"context"
	"net/http"

	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// Index is the address of each collection.
type Index struct {
	Projects string `json:"projects" format:"uri-reference" maxLength:"100" example:"/api/projects/"`
	Tasks    string `json:"tasks" format:"uri-reference" maxLength:"100" example:"/api/tasks/"`
	Comments string `json:"comments" format:"uri-reference" maxLength:"100" example:"/api/comments/"`
	Users    string `json:"users" format:"uri-reference" maxLength:"100" example:"/api/users/"`
	Me       string `json:"me" format:"uri-reference" maxLength:"100" example:"/api/users/me/"`
	Register string `json:"register" format:"uri-reference" maxLength:"100" example:"/api/auth/register/"`
	Login    string `json:"login" format:"uri-reference" maxLength:"100" example:"/api/auth/login/"`
	OpenAPI  string `json:"openapi" format:"uri-reference" maxLength:"100" example:"/api/openapi.json"`
	GraphQL  string `json:"graphql" format:"uri-reference" maxLength:"100" example:"/graphql"`
}

func index(context.Context, *struct{}) (*Read[Index], error) {
	return &Read[Index]{Body: Index{
		Projects: "/api/projects/", Tasks: "/api/tasks/", Comments: "/api/comments/", Users: "/api/users/",
		Me: "/api/users/me/", Register: "/api/auth/register/", Login: "/api/auth/login/",
		OpenAPI: "/api/openapi.json", GraphQL: "/graphql",
	}}, nil
}

// keys serves the keys that verify access tokens, for whoever wants to (RFC 7517).
func (a *api) keys(w http.ResponseWriter, r *http.Request) {
	keys, err := a.users.GetKeys(r.Context(), &usersv1.GetKeysRequest{})
	if err != nil {
		a.report(r.Context(), "getKeys", err)
		WriteProblem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(keys.GetJwks()) // held back by conditional
}
