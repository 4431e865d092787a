import { graphql } from "../src/gql/gql.js";

export const tasks = graphql(`
  query Tasks($project: ID!, $first: Int!, $after: String) {
    project(id: $project) {
      id
      name
      tasks(first: $first, after: $after) {
        edges { cursor node { id title version } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }
  }
`);

export const addTask = graphql(`
  mutation AddTask($input: CreateTaskInput!) {
    createTask(input: $input) {
      clientMutationId
      taskEdge { cursor node { id title version } }
      userErrors { code message field }
    }
  }
`);

export const taskChanges = graphql(`
  subscription TaskChanges($project: ID!, $after: String) {
    taskChanged(projectId: $project, after: $after) {
      cursor
      kind
      task { id title version }
    }
  }
`);
