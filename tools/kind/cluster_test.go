package kind

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// stepTimeout bounds each command.
const stepTimeout = 12 * time.Minute

// cluster is a Kubernetes cluster, and the commands by which people use it.
type cluster struct {
	t    *testing.T
	name string
	root string // of the repository
}

const (
	release   = "trackway"
	namespace = "trackway"
	address   = "http://localhost:8080"
)

// newCluster makes a cluster, and deletes it when the test ends. One that KIND_CLUSTER names and that was there before stays.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, name: os.Getenv("KIND_CLUSTER")}
	var err error
	if c.root, err = filepath.Abs("../.."); err != nil {
		t.Fatal(err)
	}
	if c.name == "" {
		c.name = "trackway-e2e"
		c.run("k8s/cluster", "down") // a test that Ctrl-C ended left its own behind, with half a life lived
	}
	there := strings.Contains("\n"+c.tool("kind", "get", "clusters"), "\n"+c.name+"\n")
	if !there {
		t.Cleanup(func() {
			down := &cluster{t: t, name: c.name, root: c.root}
			if out, err := down.try(context.WithoutCancel(t.Context()), nil, "k8s/cluster", "down"); err != nil {
				t.Errorf("delete the cluster: %v\n%s", err, out)
			}
		})
	}
	c.run("k8s/cluster", "up")
	return c
}

// metricsServer is the image of the metrics server, empty if there is none.
func metricsServer() string {
	return os.Getenv("METRICS_SERVER_IMAGE")
}

// serveMetrics starts the metrics server, by the manifests of its own module, if there is an image of it.
func (c *cluster) serveMetrics() {
	c.t.Helper()
	image := metricsServer()
	if image == "" {
		return
	}
	if _, err := c.try(c.t.Context(), nil, "docker", "image", "inspect", image); err == nil {
		c.tool("kind", "load", "docker-image", "--quiet", "--name", c.name, image)
	}
	dir := filepath.Join(c.t.TempDir(), "metrics-server")
	if err := os.CopyFS(filepath.Join(dir, "base"), os.DirFS(filepath.Join(c.module("sigs.k8s.io/metrics-server"), "manifests/base"))); err != nil {
		c.t.Fatal(err)
	}
	colon := strings.LastIndex(image, ":")
	if colon < 0 {
		c.t.Fatalf("METRICS_SERVER_IMAGE is %q, want one with a tag", image)
	}
	// The kubelet of a kind node has a certificate that nobody signed.
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), fmt.Appendf(nil, `resources: [base/deployment.yaml, base/rbac.yaml, base/service.yaml]
labels: [{pairs: {k8s-app: metrics-server}, includeSelectors: true}]
images: [{name: gcr.io/k8s-staging-metrics-server/metrics-server, newName: %q, newTag: %q}]
patches:
  - target: {kind: Deployment}
    patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]'
`, image[:colon], image[colon+1:]), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run("docker", "cp", "-q", dir, c.name+"-control-plane:/kind/")
	c.kubectl("apply", "--namespace=kube-system", "-k", "/kind/metrics-server")
}

// awaitMetrics waits until the cluster has metrics. The API server keeps its connection to who serves them: opened before
// the cluster's network knew the Service, it would lead out of the cluster for ever.
func (c *cluster) awaitMetrics() {
	c.t.Helper()
	c.kubectl("rollout", "status", "--namespace=kube-system", "deployment/metrics-server", "--timeout=3m")
	c.kubectl("apply", "-f", "/kind/metrics-server/base/apiservice.yaml")
	c.kubectl("wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=3m")
}

// in is the cluster for a subtest.
func (c *cluster) in(t *testing.T) *cluster {
	t.Helper()
	return &cluster{t: t, name: c.name, root: c.root}
}

// try runs a command in the repository. Standard output and error come together if it fails, else only the first.
func (c *cluster) try(ctx context.Context, env []string, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = c.root
	cmd.Env = append(append(os.Environ(), "KIND_CLUSTER="+c.name), env...)
	cmd.WaitDelay = 10 * time.Second
	var out, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = writers{&out, &all}, &all
	if err := cmd.Run(); err != nil {
		return all.String(), fmt.Errorf("%s %s: %w", filepath.Base(command), strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// writers writes to two buffers.
type writers [2]*bytes.Buffer

func (w writers) Write(p []byte) (int, error) {
	w[0].Write(p)
	return w[1].Write(p)
}

func (c *cluster) run(command string, args ...string) string {
	c.t.Helper()
	return c.runWith(nil, command, args...)
}

func (c *cluster) runWith(env []string, command string, args ...string) string {
	c.t.Helper()
	start := time.Now()
	out, err := c.try(c.t.Context(), env, command, args...)
	if err != nil {
		c.t.Fatalf("%v\n%s", err, out)
	}
	if took := time.Since(start); took > 3*time.Second {
		c.t.Logf("%4.0f s %s %s", took.Seconds(), filepath.Base(command), strings.Join(args, " "))
	}
	return out
}

// tool runs a tool of the repository: kind, helm.
func (c *cluster) tool(name string, args ...string) string {
	c.t.Helper()
	program := c.runWith([]string{"GOWORK=off"}, "go", "-C", "tools", "tool", "-modfile="+name+".mod", "-n", name)
	return c.run(strings.TrimSpace(program), args...)
}

func (c *cluster) helm(args ...string) string {
	c.t.Helper()
	return c.tool("helm", append([]string{"--kube-context", "kind-" + c.name, "--namespace", namespace}, args...)...)
}

// kubectl is the one of the node.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.run("docker", c.kubectlArgs(args...)...)
}

func (c *cluster) kubectlArgs(args ...string) []string {
	return append([]string{"exec", c.name + "-control-plane", "kubectl", "--namespace", namespace}, args...)
}

// get reads objects of the cluster, or what else kubectl prints as JSON.
func get[T any](c *cluster, args ...string) (v T) {
	c.t.Helper()
	text := c.kubectl(args...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return v
}

// names lists what a selector or kind selects.
func (c *cluster) names(args ...string) []string {
	c.t.Helper()
	return strings.Fields(c.kubectl(append([]string{"get", "-o", "name"}, args...)...))
}

// pods lists those of a service, but for those that are on their way out.
func (c *cluster) pods(service string) []string {
	c.t.Helper()
	return strings.Fields(c.kubectl("get", "pods", "-l", "app.kubernetes.io/name="+service, "-o",
		"go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}"))
}

// awaitRollouts waits until all that should run is ready.
func (c *cluster) awaitRollouts() {
	c.t.Helper()
	for _, name := range c.names("deployments,statefulsets") {
		c.kubectl("rollout", "status", name, "--timeout=5m")
	}
}

// sql runs statements in a database of the bundled Postgres, as its superuser.
func (c *cluster) sql(database, statements string) string {
	c.t.Helper()
	return strings.TrimSpace(c.kubectl("exec", "trackway-postgres-0", "-c", "postgres", "--",
		"psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", statements))
}
