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
// name of an admin, who sees everybody's address, unless no address is wanted.
func (p people) BatchGetUsers(ctx context.Context, req *usersv1.BatchGetUsersRequest, opts ...grpc.CallOption) (
	*usersv1.BatchGetUsersResponse, error,
) {
	caller := auth.CallerFrom(ctx)
	if !cache.Collecting(ctx) || caller.Admin && !req.GetWithoutEmail() {
		return p.UsersServiceClient.BatchGetUsers(ctx, req, opts...)
	}
	cache.Need(ctx, tags.Users()) // before anything is said of them
	look := cache.Seen(ctx, tags.Users())
	seen := func(id int64) person { return person{id, id == caller.UserID && !req.GetWithoutEmail()} }
	answer := &usersv1.BatchGetUsersResponse{Users: make([]*usersv1.User, 0, len(req.GetIds()))}
	rest := &usersv1.BatchGetUsersRequest{WithoutEmail: req.GetWithoutEmail()}
	for _, id := range req.GetIds() {
		if user, ok := p.known.Known(seen(id), look); ok {
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
		p.known.Keep(seen(user.GetId()), look, user)
	}
	answer.Users = append(answer.Users, fetched.GetUsers()...)
	return answer, nil
}
