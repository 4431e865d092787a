package graph

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/events"
	eventsv1 "github.com/trackway/trackway/services/rpc/events/v1"
	projectsv1 "github.com/trackway/trackway/services/rpc/projects/v1"
)

// gone are projects that nobody may read any more.
type gone struct {
	projectsv1.ProjectsServiceClient
}

func (gone) BatchGetAccess(context.Context, *projectsv1.BatchGetAccessRequest, ...grpc.CallOption) (
	*projectsv1.BatchGetAccessResponse, error,
) {
	return &projectsv1.BatchGetAccessResponse{}, nil
}

// Who loses a project is told of it, but not by a token that was never good for it.
func TestTheEndOfAProjectIsToldByTokensForItOnly(t *testing.T) {
	t.Parallel()
	r := newServer(Config{Projects: gone{}, Log: slog.New(slog.DiscardHandler)}).resolver()
	var news []events.News
	for project := range int64(3) {
		news = append(news, events.News{Service: fromProjects, Record: &events.Record{
			Position: events.Position{XID: 1, ID: project + 1}, Type: "project.deleted", ProjectID: project + 1, Audience: []int64{7},
		}})
	}
	for name, tt := range map[string]struct{ token, want []int64 }{
		"a session":                        {nil, []int64{1, 2, 3}},
		"a token for the second project":   {[]int64{2}, []int64{2}},
		"a token for none of the projects": {[]int64{9}, nil},
	} {
		f := &feed{
			resolver: r, caller: 7, at: make(map[string]events.Position),
			sources: []source{{service: fromProjects, types: []string{"project.deleted"}, mine: true}},
		}
		var got []int64
		ctx := auth.WithCaller(t.Context(), &auth.Caller{UserID: 7, Projects: tt.token})
		err := f.pass(ctx, news, func(_ context.Context, e *eventsv1.Event) error {
			got = append(got, e.GetProjectId())
			return nil
		})
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, tt.want)
		}
	}
}
