package chart

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
)

var update = flag.Bool("update", false, "write the golden files and docs/packaging/kubernetes/vnode.yaml anew")

const (
	dir      = "../../docs/packaging/chart"
	manifest = "../../docs/packaging/kubernetes/vnode.yaml"
)

// helm lint finds nothing but that there is no icon.
func TestLint(t *testing.T) {
	found := lint.AllWithKubeVersion(dir, map[string]any{}, "jitsi", nil)
	for _, m := range found.Messages {
		require.LessOrEqual(t, m.Severity, support.InfoSev, m.Error())
	}
}

// What the chart renders is as it was, and reads as Kubernetes reads it.
func TestGolden(t *testing.T) {
	for input, values := range inputs(t) {
		t.Run(filepath.Base(input), func(t *testing.T) {
			text, err := render(dir, values)
			require.NoError(t, err)
			_, err = objects(text)
			require.NoError(t, err)
			golden(t, strings.TrimSuffix(input, ".values.yaml")+".golden.yaml", text)
		})
	}
}

// inputs are the values of testdata, by their files.
func inputs(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.values.yaml")
	require.NoError(t, err)
	require.Len(t, paths, 3)
	all := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		all[path] = string(text)
	}
	return all
}

func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run the test with -update")
	require.Equal(t, string(want), text, "%s is stale: run the test with -update", path)
}

// The manifest for those without Helm is the chart's, with Secrets of names that its
// first lines tell how to make.
func TestPlainManifest(t *testing.T) {
	text, err := render(dir, "focus: {existingSecret: vnode-focus}\nadmin: {existingSecret: vnode-admin}\n")
	require.NoError(t, err)
	golden(t, manifest, `# Two visitor nodes, v1 and v2, for Kubernetes 1.31 or later. Made from the Helm chart in
# ../chart by its test; use the chart if you can. Change the ConfigMap first: where the
# main server is. For another number of nodes change replicas, and add a Service each.
#
#   kubectl create namespace jitsi
#   kubectl -n jitsi create secret generic vnode-focus --from-literal=password=…
#   kubectl -n jitsi create secret generic vnode-admin --from-literal=token=…
#   kubectl -n jitsi apply -f vnode.yaml
#
# A change of the ConfigMap takes effect with
#   kubectl -n jitsi rollout restart statefulset vnode
`+text)
}

func rendered(t *testing.T, values string) []any {
	t.Helper()
	text, err := render(dir, values)
	require.NoError(t, err)
	all, err := objects(text)
	require.NoError(t, err)
	return all
}

func container(t *testing.T, all []any) (*appsv1.StatefulSet, corev1.Container) {
	t.Helper()
	set, err := one[appsv1.StatefulSet](all)
	require.NoError(t, err)
	require.Len(t, set.Spec.Template.Spec.Containers, 1)
	return set, set.Spec.Template.Spec.Containers[0]
}

func variables(c corev1.Container) map[string]string {
	all := map[string]string{}
	for _, e := range c.Env {
		all[e.Name] = e.Value
	}
	return all
}

// A pod that ends gets the time that its node takes to send its visitors away.
func TestGraceFitsTheDrain(t *testing.T) {
	for values, want := range map[string]time.Duration{
		"": 15*time.Second + 2*5*time.Second,
		"drain: {timeoutSeconds: 1800, spreadSeconds: 60}": 1800*time.Second + 2*60*time.Second,
	} {
		all := rendered(t, values)
		set, _ := container(t, all)
		require.GreaterOrEqual(t, time.Duration(*set.Spec.Template.Spec.TerminationGracePeriodSeconds)*time.Second, want+20*time.Second)
	}
	config, err := one[corev1.ConfigMap](rendered(t, "drain: {timeoutSeconds: 1800, spreadSeconds: 60}"))
	require.NoError(t, err)
	require.Equal(t, "1800s", config.Data["VNODE_DRAIN_TIMEOUT"])
	require.Equal(t, "60s", config.Data["VNODE_DRAIN_SPREAD"])
}

// Every node of the pool has a Service, for one pod; as many run as are wanted.
func TestPool(t *testing.T) {
	all := rendered(t, "pool: {first: 3, size: 8}\nreplicas: 2\n")
	set, _ := container(t, all)
	require.EqualValues(t, 2, *set.Spec.Replicas)
	require.EqualValues(t, 3, set.Spec.Ordinals.Start)
	services := map[string]string{}
	for _, o := range all {
		if s, ok := o.(*corev1.Service); ok {
			require.True(t, s.Spec.PublishNotReadyAddresses, "visitors of a node that drains need it")
			services[s.Name] = s.Spec.Selector["statefulset.kubernetes.io/pod-name"]
		}
	}
	require.Len(t, services, 1+8)
	require.Equal(t, "vnode-10", services["vnode-10"])
	require.NotContains(t, services, "vnode-11")
	config, err := one[corev1.ConfigMap](all)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(config.Data["VNODE_OTHER_NODES"], "vnode-3.vnode:9280,"))
	require.True(t, strings.HasSuffix(config.Data["VNODE_OTHER_NODES"], ",vnode-10.vnode:9280"))

	set, _ = container(t, rendered(t, "replicas: 0\n"))
	require.Zero(t, *set.Spec.Replicas)
	_, err = render(dir, "pool: {first: 1, size: 2}\nreplicas: 3\n")
	require.ErrorContains(t, err, "the pool has 2 nodes")
}

// Go frees memory before the limit is reached.
func TestMemoryLimit(t *testing.T) {
	for limit, want := range map[string]string{"1Gi": "921MiB", "2Gi": "1843MiB", "512Mi": "460MiB"} {
		_, c := container(t, rendered(t, "resources: {limits: {memory: "+limit+"}}"))
		require.Equal(t, want, variables(c)["GOMEMLIMIT"], limit)
	}
	_, err := render(dir, "resources: {limits: {memory: 1G}}")
	require.ErrorContains(t, err, "write 1G with Mi or Gi")
	_, c := container(t, rendered(t, "resources: {limits: null}"))
	require.NotContains(t, variables(c), "GOMEMLIMIT")
}

// The pod can do nothing that a node need not do, and is asked whether it works.
func TestPodIsLocked(t *testing.T) {
	set, c := container(t, rendered(t, ""))
	pod := set.Spec.Template.Spec
	require.True(t, *pod.SecurityContext.RunAsNonRoot)
	require.False(t, *pod.AutomountServiceAccountToken)
	require.False(t, *pod.EnableServiceLinks)
	require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
	require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
	require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
	require.Equal(t, "/healthz", c.StartupProbe.HTTPGet.Path)
	require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path)
	require.Greater(t, c.LivenessProbe.TimeoutSeconds, int32(5), "the node answers within five seconds that it does not work")
}

// Secrets are files, by the chart or the operator.
func TestSecrets(t *testing.T) {
	_, c := container(t, rendered(t, ""))
	require.NotContains(t, variables(c), "VNODE_FOCUS_PASSWORD_FILE", "the node makes its own")
	all := rendered(t, "focus: {password: hidden}\nadmin: {existingSecret: mine}\n")
	set, c := container(t, all)
	require.Equal(t, "/run/secrets/vnode/focus/password", variables(c)["VNODE_FOCUS_PASSWORD_FILE"])
	secret, err := one[corev1.Secret](all)
	require.NoError(t, err)
	require.Equal(t, "hidden", secret.StringData["password"])
	var names []string
	for _, v := range set.Spec.Template.Spec.Volumes {
		names = append(names, v.Secret.SecretName)
	}
	require.Equal(t, []string{"vnode-focus", "mine"}, names)
}

// Each port is open for those who need it, and the admin port for nobody else than
// the nodes and Prometheus.
func TestNetworkPolicy(t *testing.T) {
	policy, err := one[networkingv1.NetworkPolicy](rendered(t, "networkPolicy: {web: []}"))
	require.NoError(t, err)
	var ports []string
	for _, rule := range policy.Spec.Ingress {
		require.NotEmpty(t, rule.From, "no from lets in everybody")
		ports = append(ports, rule.Ports[0].Port.StrVal)
	}
	require.Equal(t, []string{"s2s", "c2s", "admin"}, ports)
}

// Values that a node would not take are refused before they reach a cluster.
func TestSchema(t *testing.T) {
	for values, want := range map[string]string{
		"mian: {domain: x}":                         "mian",
		"main: {domain: Meet.Example.com}":          "domain",
		"main: {s2s: prosody}":                      "s2s",
		"pool: {size: 0}":                           "size",
		"pool: {first: -1}":                         "first",
		"config: {id: \"3\"}":                       "invalid propertyName 'id'",
		"config: {max-rooms: 3}":                    "max-rooms",
		"antiAffinity: always":                      "antiAffinity",
		"turn: {services: [\"http://turn.x.org\"]}": "turn",
		"persistence: {size: lots}":                 "size",
	} {
		_, err := render(dir, values)
		require.ErrorContains(t, err, want, values)
	}
}

// Every variable of the chart is one of the node's, with a value it takes; so are the
// values that vnode setup writes for the chart.
func TestNodeTakesTheConfiguration(t *testing.T) {
	program := filepath.Join(t.TempDir(), "vnode")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/vnode")
	build.Dir = "../.."
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))

	root := t.TempDir()
	out, err = exec.CommandContext(t.Context(), program, "setup", "-prefix", root, "-nodes", "3", "-main-domain", "meet.example.com",
		"-main-s2s", "10.0.0.5:5269", "-node-address", "10.0.0.3", "-pieces", "kubernetes").CombinedOutput()
	require.NoError(t, err, string(out))
	made, err := os.ReadFile(filepath.Join(root, "etc/vnode/pieces/kubernetes/values.yaml"))
	require.NoError(t, err)
	all := inputs(t)
	all["setup"] = string(made)
	for name, values := range all {
		config, err := one[corev1.ConfigMap](rendered(t, values))
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), program, "config", "-effective")
		cmd.Env = []string{"VNODE_ID=3", "VNODE_CONFIG=../../docs/packaging/container/vnode.toml"}
		for name, value := range config.Data {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		require.Contains(t, string(out), "VNODE_MAIN_S2S", name)
	}
}
