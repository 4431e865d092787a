// Package kind tests Trackway as it runs in a Kubernetes cluster: `make kind-e2e`. The cluster is a real one, by kind,
// and what is done to it is what people and machines do to clusters, while others work.
package kind

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/trackway/trackway/tools/story"
)

// The whole life of an installation, in the order in which it is lived: each part stands on those before.
//
//nolint:paralleltest // see above
func TestAnInstallationFromItsFirstToItsLastDay(t *testing.T) {
	c, l := newCluster(t), &load{}
	for _, part := range []struct {
		name string
		do   func(c *cluster, l *load)
	}{
		{"one command installs it and the story plays inside", install},
		{"the story plays from outside", playOutside},
		{"it is as small as it says", small},
		{"no secret is where others look", secretive},
		{"the API server accepts every file of values", accepted},
		{"an upgrade with a migration fails no request", upgrade},
		{"a failed migration leaves the old version at work", failMigration},
		{"a rollback fails no request", rollback},
		{"new pods get calls", scale},
		{"an autoscaler adds pods and takes them away", autoscale},
		{"pods may be deleted", deletePods},
		{"pods may be killed", killPods},
		{"Redis may restart", restartRedis},
		{"Postgres may restart", restartPostgres},
		{"a database gets another password", repassword},
		{"a dump brings everything back", restore},
		{"uninstalled it leaves its volumes, and installed again it has its data", reinstall},
	} {
		// Each stands on those before, so the first that fails ends it.
		if !t.Run(part.name, func(t *testing.T) { part.do(c.in(t), l) }) {
			c.explain()
			return
		}
	}
}

func install(c *cluster, _ *load) {
	c.t.Helper()
	c.serveMetrics() // it has some when they are needed
	c.run("k8s/cluster", "deploy")
}

// explain logs what the cluster says, when a part failed.
func (c *cluster) explain() {
	for _, args := range [][]string{
		{"get", "pods", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "--prefix", "--tail=20", "--all-containers", "-l", "app.kubernetes.io/instance=" + release},
	} {
		out, err := c.try(context.WithoutCancel(c.t.Context()), nil, "docker", c.kubectlArgs(args...)...)
		c.t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func playOutside(c *cluster, _ *load) {
	t := c.t
	t.Helper()
	client := story.Client{URL: address, HTTP: &http.Client{Timeout: 30 * time.Second}}
	if err := story.Play(t.Context(), client, func(step string) { t.Log(step) }); err != nil {
		t.Error(err)
	}
}

// What the whole installation may ask for, and use after the story.
const (
	mostCPU      = 300       // thousandths of a CPU
	mostRequests = 512 << 20 // bytes
	mostMemory   = 600 << 20
)

type podList struct {
	Items []struct {
		Spec struct {
			Containers []struct {
				Resources struct {
					Requests map[string]string `json:"requests"`
				} `json:"resources"`
			} `json:"containers"`
		} `json:"spec"`
	} `json:"items"`
}

type summary struct {
	Pods []struct {
		PodRef struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"podRef"`
		Memory struct {
			WorkingSetBytes int64 `json:"workingSetBytes"`
		} `json:"memory"`
	} `json:"pods"`
}

func small(c *cluster, _ *load) {
	c.t.Helper()
	var cpu, memory, used int64
	for _, pod := range get[podList](c, "get", "pods", "-o", "json").Items {
		for _, container := range pod.Spec.Containers {
			cpu += number(c.t, container.Resources.Requests["cpu"], "m")
			memory += number(c.t, container.Resources.Requests["memory"], "Mi") << 20
		}
	}
	for _, pod := range get[summary](c, "get", "--raw", "/api/v1/nodes/"+c.name+"-control-plane/proxy/stats/summary").Pods {
		if pod.PodRef.Namespace == namespace {
			used += pod.Memory.WorkingSetBytes
		}
	}
	c.t.Logf("it requests %d m CPU and %d MiB, and uses %d MiB", cpu, memory>>20, used>>20)
	if cpu == 0 || cpu > mostCPU || memory == 0 || memory > mostRequests {
		c.t.Errorf("it requests %d m CPU and %d MiB, want at most %d m and %d MiB", cpu, memory>>20, mostCPU, mostRequests>>20)
	}
	if used == 0 || used > mostMemory {
		c.t.Errorf("it uses %d MiB, want at most %d MiB", used>>20, mostMemory>>20)
	}
}

func number(t *testing.T, quantity, unit string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(quantity, unit), 10, 64)
	if err != nil || !strings.HasSuffix(quantity, unit) {
		t.Fatalf("a container requests %q, want a number of %s", quantity, unit)
	}
	return n
}

// secretive looks for the content of every Secret in all that is not one.
func secretive(c *cluster, _ *load) {
	c.t.Helper()
	secrets := get[struct {
		Items []struct {
			Data map[string][]byte `json:"data"`
			Type string            `json:"type"`
		} `json:"items"`
	}](c, "get", "secrets", "-o", "json")
	places := map[string]string{
		"a ConfigMap":   c.kubectl("get", "configmaps", "-o", "json"),
		"a workload":    c.kubectl("get", "deployments,statefulsets,pods", "-o", "json"),
		"helm's values": c.helm("get", "values", release, "--all"),
		"a log":         c.kubectl("logs", "--prefix", "--tail=-1", "--all-containers", "-l", "app.kubernetes.io/instance="+release),
	}
	looked := 0
	for _, s := range secrets.Items {
		if s.Type == "helm.sh/release.v1" {
			continue // Helm's own copy of all it installed, a Secret itself
		}
		for key, value := range s.Data {
			if key == "username" {
				continue
			}
			for line := range strings.SplitSeq(strings.TrimSpace(string(value)), "\n") {
				if len(line) < 16 || strings.HasPrefix(line, "-----") {
					continue
				}
				looked++
				for place, text := range places {
					if strings.Contains(text, line) {
						c.t.Errorf("%s holds the secret %s", place, key)
					}
				}
			}
		}
	}
	if want := 8; looked < want { // three passwords, three URLs, a key, an admin
		c.t.Errorf("looked for %d secrets, want at least %d", looked, want)
	}
}

// accepted has the API server look at the objects of every file of values, as if it were to make them.
func accepted(c *cluster, _ *load) {
	c.t.Helper()
	c.kubectl("apply", "--server-side", "-f", c.copyIn("crds.yaml", crds(c)))
	files, err := filepath.Glob(filepath.Join(c.root, "charts", "trackway", "examples", "*.yaml"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("find the examples: %v, %d files", err, len(files))
	}
	for _, file := range append(files, filepath.Join(c.root, "k8s", "kind-values.yaml"), filepath.Join(c.root, "charts", "trackway", "values.yaml")) {
		// Another release's name, so that the objects are new ones.
		text := c.tool("helm", "template", "other", "charts/trackway", "--namespace", namespace, "--values", file, "--skip-tests",
			"--set", "edge.service.nodePort=null", "--set", "global.generateSecrets=always")
		out, err := c.try(c.t.Context(), nil, "docker", c.kubectlArgs("apply", "--dry-run=server", "-f", c.copyIn("objects.yaml", text))...)
		if err != nil {
			c.t.Errorf("%s: %v\n%s", filepath.Base(file), err, out)
			continue
		}
		c.t.Logf("%s: %d objects", filepath.Base(file), strings.Count(out, "server dry run"))
	}
}

// copyIn writes a file on the node, for its kubectl.
func (c *cluster) copyIn(name, text string) string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.run("docker", "cp", "-q", file, c.name+"-control-plane:/kind/"+name)
	return "/kind/" + name
}

// crds are the definitions of what the operators and the Gateway API add, out of their own modules.
func crds(c *cluster) string {
	c.t.Helper()
	var all strings.Builder
	for module, names := range map[string][]string{
		"sigs.k8s.io/gateway-api": {"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
		"github.com/prometheus-operator/prometheus-operator": {
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
		"github.com/cloudnative-pg/cloudnative-pg": {
			"config/crd/bases/postgresql.cnpg.io_clusters.yaml", "config/crd/bases/postgresql.cnpg.io_databases.yaml",
		},
	} {
		dir := c.module(module)
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				c.t.Fatal(err)
			}
			fmt.Fprintf(&all, "---\n%s\n", text)
		}
	}
	return all.String()
}

// module is the folder of a module that crds.mod names.
func (c *cluster) module(path string) string {
	c.t.Helper()
	var got struct {
		Dir string `json:"Dir"`
	}
	text := c.runWith([]string{"GOWORK=off"}, "go", "-C", "tools", "mod", "download", "-modfile=crds.mod", "-json", path)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		c.t.Fatalf("download %s: %v\n%s", path, err, text)
	}
	return got.Dir
}

// next is the environment that builds a next version, in which the tasks service has a migration more.
func (c *cluster) next(version, migration, statements string) []string {
	c.t.Helper()
	dir := c.t.TempDir()
	file, overlay := filepath.Join(dir, "migration.sql"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(c.root, "services/tasks/migrations", migration): file,
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	for name, text := range map[string][]byte{file: []byte(statements), overlay: replace} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	env := []string{"IMAGE_VERSION=" + version, "GOFLAGS=-overlay=" + overlay}
	c.runWith(env, "go", "run", "./tools/images") // now, and not while people wait for what this machine also does
	return env
}

func upgrade(c *cluster, l *load) {
	c.t.Helper()
	env := c.next("next", "901_more.tx.up.sql", "ALTER TABLE tasks ADD COLUMN more text NOT NULL DEFAULT '';")
	l.during(c.t, false, func() { c.runWith(env, "k8s/cluster", "deploy") })
	if got := c.sql("tasks", "SELECT count(*) FROM bun_migrations WHERE name = '901'"); got != "1" {
		c.t.Errorf("the migration has been applied %s times, want once", got)
	}
}

func failMigration(c *cluster, l *load) {
	c.t.Helper()
	env := c.next("failing", "902_fails.tx.up.sql", "CREATE TABLE half (id int); SELECT 1/0;")
	l.during(c.t, false, func() {
		out, err := c.try(c.t.Context(), env, "k8s/cluster", "deploy", "--timeout", "45s")
		if err == nil || !strings.Contains(out, "UPGRADE FAILED") {
			c.t.Errorf("an upgrade whose migration fails: got %v, want it to fail\n%s", err, out)
		}
	})
	if got := c.sql("tasks", "SELECT to_regclass('half') IS NULL"); got != "t" {
		c.t.Error("half of the failed migration is there")
	}
	pods := c.kubectl("get", "pods", "-l", "app.kubernetes.io/name=tasks", "-o",
		"jsonpath={range .items[*]}{.status.initContainerStatuses[0].ready},{.status.containerStatuses[0].ready}{'\\n'}{end}")
	if got, want := strings.Count(pods, "true,true"), 2; got != want {
		c.t.Errorf("%d pods of the old version are ready, want %d:\n%s", got, want, pods)
	}
}

func rollback(c *cluster, l *load) {
	c.t.Helper()
	l.during(c.t, false, func() { c.helm("rollback", release, "1", "--wait", "--timeout", "5m") })
}

// scale adds a pod of each service that others call, and expects calls there soon.
func scale(c *cluster, l *load) {
	c.t.Helper()
	services := []string{"users", "projects", "tasks"}
	l.during(c.t, false, func() {
		for _, name := range services {
			c.kubectl("scale", "deployment", release+"-"+name, "--replicas=3")
		}
		c.awaitRollouts()
		// Who is to find a new pod looks for it every two seconds.
		for _, name := range services {
			c.awaitCalls(name, time.Now().Add(30*time.Second))
		}
	})
	for _, name := range services {
		c.kubectl("scale", "deployment", release+"-"+name, "--replicas=2")
	}
	c.awaitRollouts()
}

// autoscale turns autoscaling on and up, and expects Helm to leave the number of pods to it from then on: an upgrade keeps
// it, a rollback is not refused for it.
func autoscale(c *cluster, l *load) {
	c.t.Helper()
	if metricsServer() == "" {
		c.t.Log("not done: METRICS_SERVER_IMAGE names no image of a metrics server")
		return
	}
	c.awaitMetrics()
	upgrade := func(args ...string) {
		c.t.Helper()
		c.helm(append([]string{"upgrade", release, "charts/trackway", "--reuse-values", "--wait", "--timeout", "5m"}, args...)...)
	}
	set := func(values string) (args []string) { // of both
		for value := range strings.FieldsSeq(values) {
			args = append(args, "--set", "edge.autoscaling."+value, "--set", "tasks.autoscaling."+value)
		}
		return args
	}
	l.during(c.t, false, func() {
		// Every pod uses more than a thousandth of a CPU.
		upgrade(set("enabled=true min=2 max=3 cpu=1m scaleDownSeconds=0")...)
		c.awaitReplicas("3")
		c.awaitCalls("tasks", time.Now().Add(30*time.Second))
		upgrade(set("scaleDownSeconds=1")...)
		upgrade(set("max=4")...)
		c.awaitReplicas("4")
		c.helm("rollback", release, "--wait", "--timeout", "5m")
		c.awaitReplicas("3")
		upgrade(append(set("enabled=false"), "--force-conflicts")...) // as the README says
		c.awaitReplicas("2")
	})
}

// awaitReplicas waits until the edge and tasks have as many ready pods, and are to have no others. At no time may they be
// to have one.
func (c *cluster) awaitReplicas(want string) {
	c.t.Helper()
	wanted := []string{want, want, want, want}
	for deadline := time.Now().Add(3 * time.Minute); ; {
		got := strings.Fields(c.kubectl("get", "deployments", release+"-edge", release+"-tasks", "-o",
			"jsonpath={range .items[*]}{.spec.replicas} {end}{range .items[*]}{.status.readyReplicas} {end}"))
		if slices.Equal(got, wanted) {
			return
		}
		if slices.Contains(got[:2], "1") {
			c.t.Fatalf("edge and tasks are to have %s pods, want never one", got[:2])
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("edge and tasks are to have, and have ready, %s pods, want %s\n%s", got, wanted, c.kubectl("describe", "hpa"))
		}
		select {
		case <-c.t.Context().Done():
		case <-time.After(time.Second):
		}
	}
}

// awaitCalls waits until every pod of a service has served some.
func (c *cluster) awaitCalls(name string, deadline time.Time) {
	c.t.Helper()
	const enough = 10
	for _, pod := range c.pods(name) {
		for {
			metrics := c.kubectl("get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+":9091/proxy/metrics")
			calls := counted(metrics, "rpc_server_call_duration_seconds_count")
			if calls >= enough {
				break
			}
			if time.Now().After(deadline) {
				c.t.Errorf("%s has served %d calls, want its share", pod, calls)
				break
			}
		}
	}
}

func counted(metrics, name string) (sum int) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, name+"{") {
			fields := strings.Fields(line)
			n, _ := strconv.Atoi(fields[len(fields)-1])
			sum += n
		}
	}
	return sum
}

func deletePods(c *cluster, l *load) {
	c.t.Helper()
	takePods(c, l)
}

func killPods(c *cluster, l *load) {
	c.t.Helper()
	takePods(c, l, "--grace-period=0", "--force")
}

// takePods deletes one pod of each service.
func takePods(c *cluster, l *load, how ...string) {
	c.t.Helper()
	l.during(c.t, true, func() {
		for _, name := range []string{"edge", "tasks", "projects", "users"} {
			pods := c.pods(name)
			if len(pods) < 2 {
				c.t.Errorf("%s has the pods %q, want two", name, pods)
			}
			c.kubectl(append([]string{"delete", "pod", pods[0], "--wait=false"}, how...)...)
			c.kubectl("rollout", "status", "deployment/"+release+"-"+name, "--timeout=3m")
		}
	})
}

func restartRedis(c *cluster, l *load) {
	c.t.Helper()
	restart(c, l, "redis")
}

func restartPostgres(c *cluster, l *load) {
	c.t.Helper()
	restart(c, l, "postgres")
}

func restart(c *cluster, l *load, name string) {
	c.t.Helper()
	l.during(c.t, true, func() {
		c.kubectl("delete", "pod", release+"-"+name+"-0")
		c.kubectl("rollout", "status", "statefulset/"+release+"-"+name, "--timeout=3m")
		c.awaitRollouts() // who stands on it is ready again
	})
}

// repassword has the chart make another password, as the README says.
func repassword(c *cluster, l *load) {
	c.t.Helper()
	password := func() string {
		return c.kubectl("get", "secret", "trackway-tasks-database", "-o", "jsonpath={.data.password}")
	}
	old := password()
	l.during(c.t, true, func() {
		c.kubectl("delete", "secret", "trackway-tasks-database")
		c.helm("upgrade", release, "charts/trackway", "--reuse-values", "--wait", "--timeout", "5m")
		c.awaitRollouts()
	})
	if password() == old {
		c.t.Error("the password is the old one")
	}
}

// restore makes a dump, loses data, and restores it as the README says.
func restore(c *cluster, l *load) {
	c.t.Helper()
	c.helm("upgrade", release, "charts/trackway", "--reuse-values", "--set", "backup.enabled=true", "--wait", "--timeout", "5m")
	job := func(name string) {
		c.t.Helper()
		c.kubectl("create", "job", name, "--from=cronjob/"+release+"-"+name)
		if out, err := c.try(c.t.Context(), nil, "docker", c.kubectlArgs("wait", "job/"+name, "--for=condition=complete", "--timeout=3m")...); err != nil {
			c.t.Fatalf("%v\n%s\n%s", err, out, c.kubectl("logs", "job/"+name, "--all-containers"))
		}
		c.t.Log(c.kubectl("logs", "job/"+name))
		c.kubectl("delete", "job", name)
	}
	job("backup")
	before := c.sql("tasks", "SELECT count(*) FROM events")
	c.sql("tasks", "DROP TABLE comments; DELETE FROM events; UPDATE tasks SET title = 'lost', parent_id = NULL")
	c.sql("users", "DROP TABLE users CASCADE")
	c.sql("projects", "TRUNCATE projects CASCADE")

	services := []string{"deployment/trackway-edge", "deployment/trackway-tasks", "deployment/trackway-projects", "deployment/trackway-users"}
	c.kubectl(append([]string{"scale", "--replicas=0"}, services...)...)
	c.kubectl("wait", "pods", "--for=delete", "--timeout=2m", "-l", "app.kubernetes.io/name in (users,projects,tasks,edge)")
	job("restore")
	c.kubectl("rollout", "restart", "statefulset/trackway-redis")
	c.kubectl(append([]string{"scale", "--replicas=2"}, services...)...)
	c.awaitRollouts()
	if got := c.sql("tasks", "SELECT count(*) FROM events"); got != before {
		c.t.Errorf("there are %s events after the restore, want %s", got, before)
	}
	l.during(c.t, true, func() {}) // signs in, reads everything, and writes
}

// reinstall uninstalls the release, expects nothing but the volumes, and installs it again, which finds its data.
func reinstall(c *cluster, l *load) {
	c.t.Helper()
	values := c.copyOut("values.yaml", c.helm("get", "values", release))
	c.helm("uninstall", release, "--wait", "--timeout", "5m")
	want := []string{
		"configmap/kube-root-ca.crt", "persistentvolumeclaim/data-trackway-postgres-0",
		"persistentvolumeclaim/trackway-backup", "serviceaccount/default",
	}
	// What belongs to a Job goes a moment after it.
	left := c.left()
	for deadline := time.Now().Add(time.Minute); !slices.Equal(left, want) && time.Now().Before(deadline); {
		left = c.left()
	}
	if !slices.Equal(left, want) {
		c.t.Errorf("it leaves %q, want %q", left, want)
	}
	c.helm("install", release, "charts/trackway", "--values", values, "--wait", "--timeout", "5m")
	l.during(c.t, true, func() {})
	c.helm("test", release)
}

// left lists everything in the namespace but what tells of the past.
func (c *cluster) left() (all []string) {
	c.t.Helper()
	for kind := range strings.FieldsSeq(c.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name")) {
		if !strings.HasPrefix(kind, "events") && !strings.HasPrefix(kind, "pods.metrics") {
			all = append(all, c.names(kind)...)
		}
	}
	slices.Sort(all)
	return all
}

// copyOut writes a file that helm can read.
func (c *cluster) copyOut(name, text string) string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), name)
	if err := os.WriteFile(file, []byte(strings.TrimPrefix(text, "USER-SUPPLIED VALUES:\n")), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}
