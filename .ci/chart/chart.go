// Package chart checks the Helm chart: it renders it as helm does, and reads what
// comes out as Kubernetes does.
package chart

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// render renders the chart in a directory as `helm template vnode` does. The values
// are checked with the schema. Manifests come in the order of their files' names.
func render(dir, values string) (string, error) {
	chart, err := loader.Load(dir)
	if err != nil {
		return "", err
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return "", err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = chartutil.KubeVersion{Version: "v1.31.0", Major: "1", Minor: "31"}
	all, err := chartutil.ToRenderValues(chart, given, chartutil.ReleaseOptions{Name: "vnode", Namespace: "jitsi", IsInstall: true, Revision: 1}, capabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var names []string
	for name := range files {
		if path.Ext(name) == ".yaml" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		if text := strings.TrimSpace(files[name]); text != "" {
			b.WriteString("---\n" + text + "\n")
		}
	}
	return b.String(), nil
}

// objects reads manifests strictly, each by its own type: a field that there is not,
// one given twice and one of the wrong kind is an error.
func objects(manifests string) (all []any, err error) {
	for r := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests))); ; {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var kind struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(text, &kind); err != nil {
			return nil, err
		}
		make, ok := kinds[kind.APIVersion+" "+kind.Kind]
		if !ok {
			return nil, fmt.Errorf("a %s of %s is not expected", kind.Kind, kind.APIVersion)
		}
		object := make()
		if err := yaml.UnmarshalStrict(text, object, yaml.DisallowUnknownFields); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", kind.Kind, err, text)
		}
		all = append(all, object)
	}
}

var kinds = map[string]func() any{
	"v1 ConfigMap":                        func() any { return new(corev1.ConfigMap) },
	"v1 Secret":                           func() any { return new(corev1.Secret) },
	"v1 Service":                          func() any { return new(corev1.Service) },
	"apps/v1 StatefulSet":                 func() any { return new(appsv1.StatefulSet) },
	"policy/v1 PodDisruptionBudget":       func() any { return new(policyv1.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":  func() any { return new(networkingv1.NetworkPolicy) },
	"monitoring.coreos.com/v1 PodMonitor": func() any { return new(map[string]any) },
}

// one returns the only object of a type.
func one[T any](all []any) (found *T, err error) {
	for _, o := range all {
		if t, ok := o.(*T); ok {
			if found != nil {
				return nil, fmt.Errorf("there are several of %T", t)
			}
			found = t
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no %T", found)
	}
	return found, nil
}
