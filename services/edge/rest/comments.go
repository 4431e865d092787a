package rest

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/trackway/trackway/services/platform/auth"
	tasksv1 "github.com/trackway/trackway/services/rpc/tasks/v1"
)

// Comment is a remark on a task.
type Comment struct {
	Meta

	TaskID    int64  `json:"task_id" minimum:"1" example:"1" doc:"The task."`
	ProjectID int64  `json:"project_id" minimum:"1" example:"1" doc:"The project of the task."`
	AuthorID  int64  `json:"author_id" minimum:"1" example:"1" doc:"The user that wrote it."`
	Body      string `json:"body" maxLength:"20000" pattern:"^[\\s\\S]*$" example:"Looks good." doc:"The remark."`

	DeletedAt *time.Time `json:"deleted_at" doc:"When it was put into the trash; null elsewhere."`
}

func newComment(c *tasksv1.Comment) Comment {
	return Comment{
		Meta: newMeta(c), TaskID: c.GetTaskId(), ProjectID: c.GetProjectId(), AuthorID: c.GetAuthorId(), Body: c.GetBody(),
		DeletedAt: maybeMoment(c.GetDeletedAt()),
	}
}

// CommentShape is how comments are to be given.
type CommentShape struct {
	Selection[Comment]
	Permitted

	Expand []string `query:"expand" enum:"author,task" maxItems:"2" doc:"What to embed beside its id; null where there is nothing that the caller may see."`
}

func (Comment) beside(r huma.Registry) map[string]*huma.Schema {
	return map[string]*huma.Schema{
		"author":        embedded[User](r, "The author; with expand=author."),
		"task":          embedded[Task](r, "The task; with expand=task."),
		permissionsName: may[CommentPermissions](r),
	}
}

// CommentPermissions is what the caller may do with a comment now.
type CommentPermissions struct {
	Update bool `json:"update" doc:"Change it."`
	Delete bool `json:"delete" doc:"Delete it."`
}

func (a *api) viewComments(ctx context.Context, s *CommentShape, comments []*tasksv1.Comment) ([]View[Comment], error) {
	var (
		people, on []int64
		users      map[int64]*User
		tasks      map[int64]*Task
		roles      map[int64]access
		err        error
	)
	if slices.Contains(s.Expand, "author") {
		people = each(comments, (*tasksv1.Comment).GetAuthorId)
	}
	if slices.Contains(s.Expand, "task") {
		on = each(comments, (*tasksv1.Comment).GetTaskId)
	}
	if users, err = a.usersOf(ctx, people); err != nil {
		return nil, err
	}
	if tasks, err = a.tasksOf(ctx, on); err != nil {
		return nil, err
	}
	if s.Permissions {
		if roles, err = a.accessTo(ctx, each(comments, (*tasksv1.Comment).GetProjectId)); err != nil {
			return nil, err
		}
	}
	views := make([]View[Comment], 0, len(comments))
	for _, c := range comments {
		v := newView(newComment(c), s.Selection)
		for _, name := range s.Expand {
			switch name {
			case "author":
				v.add(name, users[c.GetAuthorId()])
			case "task":
				v.add(name, tasks[c.GetTaskId()])
			}
		}
		if in := roles[c.GetProjectId()]; s.Permissions {
			own := c.GetAuthorId() == auth.CallerFrom(ctx).UserID && in.allows(auth.WriteComments)
			v.add(permissionsName, CommentPermissions{Update: own, Delete: own || in.allows(auth.ModerateComment)})
		}
		views = append(views, v)
	}
	return views, nil
}

func (a *api) registerComments() {
	register(a, operation(http.MethodGet, "/api/comments/", "listComments", tagComments, "List comments",
		"Gives the comments on one task, or in every project that the caller is a member of."), a.listComments)
	register(a, operation(http.MethodPost, "/api/comments/", "createComment", tagComments, "Comment on a task",
		"Adds a comment to a task."), a.createComment)
	register(a, operation(http.MethodGet, "/api/tasks/{id}/comments/", "listTaskComments", tagComments,
		"List the comments on a task", "Gives the comments on a task."), a.listTaskComments)
	register(a, operation(http.MethodPost, "/api/tasks/{id}/comments/", "createTaskComment", tagComments,
		"Comment on this task", "Adds a comment to a task."), a.createTaskComment)
	register(a, operation(http.MethodGet, "/api/comments/{id}/", "getComment", tagComments, "Get a comment",
		"Gives one comment."), a.getComment)
	register(a, operation(http.MethodPut, "/api/comments/{id}/", "replaceComment", tagComments, "Replace a comment",
		"Replaces the text. Only its author may."), a.replaceComment)
	register(a, operation(http.MethodPatch, "/api/comments/{id}/", "updateComment", tagComments, "Change a comment",
		"Changes the text, if it is given (RFC 7396). Only its author may."), a.updateComment)
	register(a, operation(http.MethodDelete, "/api/comments/{id}/", "deleteComment", tagComments, "Delete a comment",
		"Deletes a comment. Its author and the project's administrators may. It can be restored from the trash."), a.deleteComment)
	register(a, answers200(operation(http.MethodPost, "/api/comments/{id}/restore/", "restoreComment", tagComments,
		"Restore a comment", "Takes a comment out of the trash. Its author may, unless somebody else has deleted it, and the project's "+
			"administrators. One that is not there stays as it is.")), a.restoreComment)
}

// CommentFilter narrows a list of comments.
type CommentFilter struct {
	Ordering []string `query:"ordering" enum:"id,-id,created_at,-created_at,updated_at,-updated_at,deleted_at,-deleted_at" maxItems:"8" doc:"The order: fields, each falling when preceded by a minus; deleted_at only in the trash. By id when absent."`
	Author   int64    `query:"author" minimum:"1" doc:"Only comments by this user."`
	Trash    bool     `query:"trash" default:"false" doc:"The deleted comments instead, which the caller wrote and deleted, or moderates. They stay there for a time, 30 days unless the installation says otherwise, and are purged then."`
}

type commentList struct {
	Listing
	CommentFilter
	CommentShape

	Task int64 `query:"task" minimum:"1" doc:"The comments on this task."`
}

func (a *api) listComments(ctx context.Context, in *commentList) (*List[View[Comment]], error) {
	res, err := a.tasks.ListComments(ctx, &tasksv1.ListCommentsRequest{
		Page: in.request(in.Ordering), TaskId: in.Task, AuthorId: in.Author, Deleted: in.Trash,
		ReadMask: in.mask((*tasksv1.Comment)(nil), len(in.Expand) > 0 || in.Permissions),
	})
	if err != nil {
		return nil, err
	}
	if on := res.GetComments(); in.Task != 0 && len(on) > 0 {
		tell(ctx, on[0].GetProjectId())
	}
	views, err := a.viewComments(ctx, &in.CommentShape, res.GetComments())
	return listOf(&in.Listing, views, res.GetPage()), err
}

type taskCommentList struct {
	ID
	Listing
	CommentFilter
	CommentShape
}

func (a *api) listTaskComments(ctx context.Context, in *taskCommentList) (*List[View[Comment]], error) {
	return a.listComments(ctx, &commentList{in.Listing, in.CommentFilter, in.CommentShape, in.ID.ID})
}

type commentGet struct {
	ID
	CommentShape
}

func (a *api) getComment(ctx context.Context, in *commentGet) (*Read[View[Comment]], error) {
	c, err := a.tasks.GetComment(ctx, &tasksv1.GetCommentRequest{Id: in.ID.ID})
	if err != nil {
		return nil, err
	}
	views, err := a.viewComments(ctx, &in.CommentShape, []*tasksv1.Comment{c})
	return readView(c, views), err
}

// CommentContent is what a comment says.
type CommentContent struct {
	Body string `json:"body" minLength:"1" maxLength:"20000" pattern:"^[\\s\\S]*$" example:"Looks good." doc:"The remark."`
}

// CommentCreation is what makes a comment.
type CommentCreation struct {
	CommentContent

	TaskID int64 `json:"task_id" minimum:"1" example:"1" doc:"The task."`
}

func (a *api) createComment(ctx context.Context, in *Create[CommentCreation]) (*Created[Comment], error) {
	return create(ctx, in.Keyed, "/api/comments/", a.tasks.CreateComment,
		&tasksv1.CreateCommentRequest{TaskId: in.Body.TaskID, Body: in.Body.Body}, newComment)
}

type taskCommentCreate struct {
	ID
	Create[CommentContent]
}

func (a *api) createTaskComment(ctx context.Context, in *taskCommentCreate) (*Created[Comment], error) {
	return a.createComment(ctx, &Create[CommentCreation]{in.Keyed, CommentCreation{in.Body, in.ID.ID}})
}

// CommentReplacement is what replaces a comment.
type CommentReplacement struct {
	CommentContent

	TaskID Change[int64] `json:"task_id,omitzero" minimum:"1" example:"1" doc:"The task, which can not change; may be absent."`
}

type commentReplace struct {
	ID
	Write[CommentReplacement]
}

func (a *api) replaceComment(ctx context.Context, in *commentReplace) (*Changed[Comment], error) {
	err := stays(ctx, "task_id", in.Body.TaskID, func(ctx context.Context) (int64, error) {
		c, err := a.tasks.GetComment(ctx, &tasksv1.GetCommentRequest{Id: in.ID.ID})
		return c.GetTaskId(), err
	})
	if err != nil {
		return nil, err
	}
	return a.updateComment(ctx, &commentUpdate{in.ID, Write[CommentPatch]{in.Keyed, in.Conditional, CommentPatch{
		Body: given(in.Body.Body),
	}}})
}

// CommentPatch changes a comment.
type CommentPatch struct {
	Body Change[string] `json:"body,omitzero" minLength:"1" maxLength:"20000" pattern:"^[\\s\\S]*$" example:"Looks good." doc:"The remark."`
}

type commentUpdate struct {
	ID
	Write[CommentPatch]
}

func (a *api) updateComment(ctx context.Context, in *commentUpdate) (*Changed[Comment], error) {
	var (
		p   patch
		req = &tasksv1.UpdateCommentRequest{Id: in.ID.ID}
		err error
	)
	set(&p, "body", in.Body.Body, &req.Body)
	if req.UpdateMask, err = p.mask(); err != nil {
		return nil, err
	}
	if req.ExpectedVersion, err = in.expected(ctx, a.commentVersion(in.ID)); err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.tasks.UpdateComment, req, newComment)
}

func (a *api) deleteComment(ctx context.Context, in *deleteByID) (*Written, error) {
	expected, err := in.expected(ctx, a.commentVersion(in.ID))
	if err != nil {
		return nil, err
	}
	return remove(ctx, in.Keyed, a.tasks.DeleteComment,
		&tasksv1.DeleteCommentRequest{Id: in.ID.ID, ExpectedVersion: expected})
}

func (a *api) restoreComment(ctx context.Context, in *restoreByID) (*Changed[Comment], error) {
	expected, err := in.expected(ctx, unseen)
	if err != nil {
		return nil, err
	}
	return change(ctx, in.Keyed, a.tasks.RestoreComment,
		&tasksv1.RestoreCommentRequest{Id: in.ID.ID, ExpectedVersion: expected}, newComment)
}

func (a *api) commentVersion(id ID) versionOf {
	return func(ctx context.Context) (int64, error) {
		c, err := a.tasks.GetComment(ctx, &tasksv1.GetCommentRequest{Id: id.ID})
		return c.GetVersion(), err
	}
}
