package generated

import (
	"context"
	"fmt"
)

// ReadFilter reads an argument of the input type of that name as gqlgen does: it gives a *TaskFilter for "TaskFilter". This
// file is written by hand; nobody else reaches what gqlgen writes to read input objects.
func ReadFilter(ctx context.Context, typ string, v any) (any, error) {
	ec := &executionContext{} // none of these look at it
	switch typ {
	case "UserFilter":
		return ec.unmarshalOUserFilter2ᚖgithubᚗcomᚋtrackwayᚋtrackwayᚋgraphᚋgeneratedᚐUserFilter(ctx, v)
	case "ProjectFilter":
		return ec.unmarshalOProjectFilter2ᚖgithubᚗcomᚋtrackwayᚋtrackwayᚋgraphᚋgeneratedᚐProjectFilter(ctx, v)
	case "MemberFilter":
		return ec.unmarshalOMemberFilter2ᚖgithubᚗcomᚋtrackwayᚋtrackwayᚋgraphᚋgeneratedᚐMemberFilter(ctx, v)
	case "TaskFilter":
		return ec.unmarshalOTaskFilter2ᚖgithubᚗcomᚋtrackwayᚋtrackwayᚋgraphᚋgeneratedᚐTaskFilter(ctx, v)
	case "CommentFilter":
		return ec.unmarshalOCommentFilter2ᚖgithubᚗcomᚋtrackwayᚋtrackwayᚋgraphᚋgeneratedᚐCommentFilter(ctx, v)
	}
	return nil, fmt.Errorf("%s is no filter of a list of nouns", typ)
}
