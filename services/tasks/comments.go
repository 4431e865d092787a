package tasks

import (
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/trackway/trackway/services/platform/auth"
	"github.com/trackway/trackway/services/platform/errs"
	"github.com/trackway/trackway/services/platform/page"
	"github.com/trackway/trackway/services/platform/write"
	pagev1 "github.com/trackway/trackway/services/rpc/page/v1"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// GetComment gives one comment on a task that the caller may read.
func (s *service) GetComment(ctx context.Context, req *tasksv1.GetCommentRequest) (*tasksv1.Comment, error) {
	c, _, err := s.requireComment(ctx, req.GetId(), auth.ReadProject)
	if err != nil {
		return nil, err
	}
	return c.proto(), nil
}

// BatchGetComments gives the comments among the ids that the caller may read.
func (s *service) BatchGetComments(ctx context.Context, req *tasksv1.BatchGetCommentsRequest) (*tasksv1.BatchGetCommentsResponse, error) {
	if len(req.GetIds()) > maxBatch {
		return nil, errs.InvalidField("ids", "must be at most %d", maxBatch)
	}
	columns, err := commentColumns().Read(req.GetReadMask())
	if err != nil || len(req.GetIds()) == 0 {
		return &tasksv1.BatchGetCommentsResponse{}, err
	}
	comments, err := s.store.commentsAmong(ctx, columns, req.GetIds())
	if err != nil {
		return nil, err
	}
	a, err := s.access(ctx, distinct(comments, func(c *comment) int64 { return c.ProjectID }))
	if err != nil {
		return nil, err
	}
	comments = slices.DeleteFunc(comments, func(c *comment) bool { return !a.readable(c.ProjectID) })
	return &tasksv1.BatchGetCommentsResponse{Comments: protos(comments)}, nil
}

// newCommentList checks how comments are to be listed, and which columns that takes.
func newCommentList(req page.Request, mask page.Mask, deleted bool) (*page.Query[*comment], bun.Safe, error) {
	q, err := commentOrders(deleted).Query(req)
	if err != nil {
		return nil, "", err
	}
	columns, err := commentColumns().Read(mask, q.Fields()...)
	return q, columns, err
}

// ListComments gives one page of the comments on one task, or of those in all projects that the caller is a member of.
func (s *service) ListComments(ctx context.Context, req *tasksv1.ListCommentsRequest) (*tasksv1.ListCommentsResponse, error) {
	if req.GetDeleted() {
		return s.listDeletedComments(ctx, req)
	}
	q, columns, err := newCommentList(req.GetPage(), req.GetReadMask(), false)
	if err != nil {
		return nil, err
	}
	if req.GetTaskId() != 0 {
		return s.listTaskComments(ctx, req, columns, q)
	}
	projects, err := s.listed(ctx, 0, auth.ReadProject)
	if err != nil {
		return nil, err
	}
	p, err := s.store.listComments(ctx, columns, projects, req.GetAuthorId(), q)
	if err != nil {
		return nil, err
	}
	return &tasksv1.ListCommentsResponse{Comments: protos(p.Rows), Page: pageInfo(p)}, nil
}

// listTaskComments gives one page of the comments on one task. It reads none before it knows that the caller may: how
// long that takes would tell of the comments on a hidden task.
func (s *service) listTaskComments(ctx context.Context, req *tasksv1.ListCommentsRequest, columns bun.Safe, q *page.Query[*comment],
) (*tasksv1.ListCommentsResponse, error) {
	if _, _, err := s.require(ctx, req.GetTaskId(), auth.ReadProject); err != nil {
		return nil, err
	}
	lists, err := s.store.commentsOf(ctx, columns, []int64{req.GetTaskId()}, req.GetAuthorId(), q)
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 { // the task has gone meanwhile
		return nil, errs.Missing("task")
	}
	return &tasksv1.ListCommentsResponse{Comments: protos(lists[0].Rows), Page: pageInfo(lists[0].Page)}, nil
}

// listDeletedComments gives one page of the comments that the caller may restore.
func (s *service) listDeletedComments(ctx context.Context, req *tasksv1.ListCommentsRequest) (*tasksv1.ListCommentsResponse, error) {
	q, columns, err := newCommentList(req.GetPage(), req.GetReadMask(), true)
	if err != nil {
		return nil, err
	}
	var a access
	if req.GetTaskId() == 0 {
		a, err = s.ownAccess(ctx)
	} else {
		a, err = s.accessToTrash(ctx, req.GetTaskId())
	}
	if err != nil {
		return nil, err
	}
	p, err := s.store.deletedComments(ctx, columns, trashFilter{
		userID: auth.CallerFrom(ctx).UserID, taskID: req.GetTaskId(), authorID: req.GetAuthorId(),
		projects: a.allowing(auth.WriteComments), moderated: a.allowing(auth.ModerateComment),
	}, q)
	if err != nil {
		return nil, err
	}
	return &tasksv1.ListCommentsResponse{Comments: protos(p.Rows), Page: pageInfo(p)}, nil
}

// accessToTrash is the caller's access to the project of the task, whose comments the caller may write.
func (s *service) accessToTrash(ctx context.Context, taskID int64) (access, error) {
	t, a, err := s.require(ctx, taskID, auth.ReadProject)
	if err != nil {
		return nil, err
	}
	return a, errs.InProject(a[t.ProjectID].role.Require(auth.WriteComments, "task"), t.ProjectID)
}

// BatchListComments gives the same page of several tasks' comments.
func (s *service) BatchListComments(ctx context.Context, req *tasksv1.BatchListCommentsRequest) (*tasksv1.BatchListCommentsResponse, error) {
	if len(req.GetTaskIds()) > maxBatch {
		return nil, errs.InvalidField("task_ids", "must be at most %d", maxBatch)
	}
	q, columns, err := newCommentList(req.GetPage(), req.GetReadMask(), false)
	if err != nil {
		return nil, err
	}
	// The rows tell the projects of the tasks: those that the caller may not read are dropped after one statement.
	lists, err := s.store.commentsOf(ctx, columns, req.GetTaskIds(), req.GetAuthorId(), q)
	if err != nil {
		return nil, err
	}
	a, err := s.access(ctx, distinct(lists, func(l commentList) int64 { return l.projectID }))
	if err != nil {
		return nil, err
	}
	answer := &tasksv1.BatchListCommentsResponse{Pages: make([]*tasksv1.CommentPage, 0, len(lists))}
	room := make([]struct {
		page tasksv1.CommentPage
		info pagev1.PageInfo
	}, len(lists))
	for i, l := range lists {
		if a.readable(l.projectID) {
			p := &room[i].page
			p.ParentId, p.Comments, p.Page = l.taskID, protos(l.Rows), describe(&room[i].info, l.Page)
			answer.Pages = append(answer.Pages, p)
		}
	}
	return answer, nil
}

// CreateComment adds a comment to a task.
func (s *service) CreateComment(ctx context.Context, req *tasksv1.CreateCommentRequest) (*tasksv1.Comment, error) {
	c := &comment{TaskID: req.GetTaskId(), AuthorID: auth.CallerFrom(ctx).UserID, Body: req.GetBody()}
	if err := c.check(); err != nil {
		return nil, err
	}
	t, _, err := s.require(ctx, c.TaskID, auth.WriteComments)
	if err != nil {
		return nil, err
	}
	c.ProjectID = t.ProjectID
	if err := s.store.createComment(ctx, c); err != nil {
		return nil, err
	}
	return c.proto(), nil
}

// UpdateComment changes a comment. Only its author may, as long as they may still comment.
func (s *service) UpdateComment(ctx context.Context, req *tasksv1.UpdateCommentRequest) (*tasksv1.Comment, error) {
	if err := checkCommentUpdate(req); err != nil {
		return nil, err
	}
	var c *comment
	err := write.Retry(ctx, func(ctx context.Context) error {
		var (
			a   access
			err error
		)
		if c, a, err = s.requireComment(ctx, req.GetId(), auth.WriteComments); err != nil {
			return err
		}
		if c.AuthorID != auth.CallerFrom(ctx).UserID {
			return errs.New(errs.Denied, "Only its author may change a comment.")
		}
		if err := a.expect(c.ProjectID, req.GetExpectedVersion(), c.Version, "comment"); err != nil {
			return err
		}
		if len(req.GetUpdateMask().GetPaths()) == 0 || c.Body == req.GetBody() {
			return write.Unchanged(ctx, s.store.db, "comment", c.proto())
		}
		c.Body = req.GetBody()
		return s.store.updateComment(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return c.proto(), nil
}

// DeleteComment deletes a comment softly. Its author may, as long as they may comment, and whoever moderates.
func (s *service) DeleteComment(ctx context.Context, req *tasksv1.DeleteCommentRequest) (*emptypb.Empty, error) {
	err := write.Retry(ctx, func(ctx context.Context) error {
		c, a, err := s.requireComment(ctx, req.GetId(), auth.WriteComments)
		if err != nil {
			return err
		}
		if err := mayRemove(ctx, a, c); err != nil {
			return err
		}
		if err := a.expect(c.ProjectID, req.GetExpectedVersion(), c.Version, "comment"); err != nil {
			return err
		}
		return s.store.removeComment(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// RestoreComment takes a comment out of the trash. Its author may, unless somebody else has deleted it, and whoever moderates.
func (s *service) RestoreComment(ctx context.Context, req *tasksv1.RestoreCommentRequest) (*tasksv1.Comment, error) {
	var c *comment
	err := write.Retry(ctx, func(ctx context.Context) error {
		var err error
		if c, err = located(s.store.commentOrTrash(ctx, req.GetId())); err != nil {
			return err
		}
		a, err := s.access(ctx, []int64{c.ProjectID})
		if err != nil {
			return err
		}
		if err := a.require(c.ProjectID, auth.WriteComments, "comment"); err != nil {
			return err
		}
		if err := mayRemove(ctx, a, c); err != nil {
			return err
		}
		if err := write.Expect(req.GetExpectedVersion(), c.Version, "comment"); err != nil {
			return err
		}
		if c.DeletedAt.IsZero() {
			return write.Unchanged(ctx, s.store.db, "comment", c.proto())
		}
		return s.store.restoreComment(ctx, c)
	})
	if err != nil {
		return nil, err
	}
	return c.proto(), nil
}

// mayRemove is nil for the comment's author, until somebody else deletes it, and for whoever moderates.
func mayRemove(ctx context.Context, a access, c *comment) error {
	if c.AuthorID == auth.CallerFrom(ctx).UserID && (c.DeletedBy == 0 || c.DeletedBy == c.AuthorID) {
		return nil
	}
	return a.require(c.ProjectID, auth.ModerateComment, "comment")
}

// requireComment gives a comment in whose project the caller may do this.
func (s *service) requireComment(ctx context.Context, id int64, p auth.Permission) (*comment, access, error) {
	c, err := located(s.store.comment(ctx, id))
	if err != nil {
		return nil, nil, err
	}
	a, err := s.access(ctx, []int64{c.ProjectID})
	if err != nil {
		return nil, nil, err
	}
	return c, a, a.require(c.ProjectID, p, "comment")
}

// checkCommentUpdate checks what an update asks for.
func checkCommentUpdate(req *tasksv1.UpdateCommentRequest) error {
	for _, field := range req.GetUpdateMask().GetPaths() {
		if field != "body" {
			return errs.InvalidField("update_mask", "%.50q can not be changed", field)
		}
	}
	if len(req.GetUpdateMask().GetPaths()) == 0 {
		return nil
	}
	return checkBody(req.GetBody())
}

func (c *comment) check() error {
	if c.TaskID <= 0 {
		return errs.InvalidField("task_id", "must be the id of a task")
	}
	return checkBody(c.Body)
}

func checkBody(body string) error {
	var c errs.Check
	c.Text("body", body, 0, 20_000)
	c.That(strings.TrimSpace(body) != "", "body", "must not be blank")
	return c.Err()
}
