package edge

import (
	"context"

	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/cache"
	"github.com/trackway/trackway/services/rpc/tags"
	usersv1 "github.com/trackway/trackway/services/rpc/users/v1"
)

// people is the users service, of which the users that answers name are remembered: a board names the same few people
// as the last one. They are remembered as of the version of all users.
type people struct {
	usersv1.UsersServiceClient

	known *cache.Remembered[person, *usersv1.User]
}

// person is a user as the others see them, or as they see themselves: with the e-mail address.
type person struct {
	id   int64
	self bool
}

// maxPeople bounds how many are remembered.
const maxPeople = 20_000

func newPeople(users usersv1.UsersServiceClient) people {
	return people{users, cache.Remember[person, *usersv1.User](maxPeople)}
}

// BatchGetUsers gives those of the users that exist. It asks only for those whom it does not know, and for all in the
// name of an admin, who sees everybody's address.
func (p people) BatchGetUsers(ctx context.Context, req *usersv1.BatchGetUsersRequest, opts ...grpc.CallOption) (
	*usersv1.BatchGetUsersResponse, error,
) {
	caller := auth.CallerFrom(ctx)
	if !cache.Collecting(ctx) || caller.Admin {
		return p.UsersServiceClient.BatchGetUsers(ctx, req, opts...)
	}
	cache.Need(ctx, tags.Users()) // before anything is said of them
	look := cache.Seen(ctx, tags.Users())
	answer, rest := &usersv1.BatchGetUsersResponse{}, &usersv1.BatchGetUsersRequest{}
	for _, id := range req.GetIds() {
		if user, ok := p.known.Known(person{id, id == caller.UserID}, look); ok {
			answer.Users = append(answer.Users, user)
		} else {
			rest.Ids = append(rest.Ids, id)
		}
	}
	if len(rest.GetIds()) == 0 {
		return answer, nil
	}
	fetched, err := p.UsersServiceClient.BatchGetUsers(ctx, rest, opts...)
	if err != nil {
		return nil, err //nolint:wrapcheck // as the service says it
	}
	for _, user := range fetched.GetUsers() {
		p.known.Keep(person{user.GetId(), user.GetId() == caller.UserID}, look, user)
	}
	answer.Users = append(answer.Users, fetched.GetUsers()...)
	return answer, nil
}
