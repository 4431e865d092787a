// The documents, as an application with Relay has them.
import { graphql } from "relay-runtime";

export const tasksQuery = graphql`
  query tasksQuery($project: ID!) {
    viewer {
      id
    }
    project(id: $project) {
      id
      ...tasks_project
    }
  }
`;

export const tasksFragment = graphql`
  fragment tasks_project on Project
  @argumentDefinitions(count: { type: "Int", defaultValue: 2 }, cursor: { type: "String" })
  @refetchable(queryName: "tasksPaginationQuery") {
    name
    tasks(first: $count, after: $cursor) @connection(key: "tasks_project_tasks") {
      __id
      edges {
        node {
          id
          title
          version
        }
      }
    }
  }
`;

export const tasksAddMutation = graphql`
  mutation tasksAddMutation($input: CreateTaskInput!, $connections: [ID!]!) {
    createTask(input: $input) {
      taskEdge @appendEdge(connections: $connections) {
        node {
          id
          title
          version
        }
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;

export const tasksChangedSubscription = graphql`
  subscription tasksChangedSubscription($project: ID!, $after: String) {
    taskChanged(projectId: $project, after: $after) {
      cursor
      task {
        id
        title
        version
      }
    }
  }
`;
