package chart

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"

	// The kinds, with their defaults.
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
)

// validated asks the rules of the API server about each object, with the defaults that
// it fills in. It returns how many there were.
func validated(t *testing.T, manifests string) (count int, wrong error) {
	t.Helper()
	decoder := legacyscheme.Codecs.UniversalDecoder()
	for r := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests))); ; count++ {
		text, err := r.Read()
		if errors.Is(err, io.EOF) {
			return count, wrong
		}
		require.NoError(t, err)
		if strings.Contains(string(text), "monitoring.coreos.com/") {
			continue // of the Prometheus operator
		}
		object, _, err := decoder.Decode(text, nil, nil)
		require.NoError(t, err, string(text))
		var found field.ErrorList
		switch o := object.(type) {
		case *apps.StatefulSet:
			o.Namespace = "jitsi"
			found = appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{}, pod.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
		case *core.Service:
			o.Namespace = "jitsi"
			// The server gives it an address before it looks.
			o.Spec.ClusterIP = cmp.Or(o.Spec.ClusterIP, "10.96.0.10")
			o.Spec.ClusterIPs = []string{o.Spec.ClusterIP}
			found = corevalidation.ValidateServiceCreate(o)
		case *core.ConfigMap:
			o.Namespace = "jitsi"
			found = corevalidation.ValidateConfigMap(o)
		case *core.Secret:
			o.Namespace = "jitsi"
			found = corevalidation.ValidateSecret(o)
		case *networking.NetworkPolicy:
			o.Namespace = "jitsi"
			found = networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
		case *policy.PodDisruptionBudget:
			found = policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{})
		default:
			t.Fatalf("nobody validates a %T", o)
		}
		if err := found.ToAggregate(); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%T: %w", object, err))
		}
	}
}

// The API server takes all that the chart makes.
func TestAPIServerTakesIt(t *testing.T) {
	for name, values := range inputs(t) {
		text, err := render(dir, values)
		require.NoError(t, err)
		count, err := validated(t, text)
		require.NoError(t, err, name)
		require.GreaterOrEqual(t, count, 4, name)
	}
	text, err := render(dir, "podLabels: {team: 'not a label!'}")
	require.NoError(t, err)
	_, err = validated(t, text)
	require.ErrorContains(t, err, "not a label!", "what is wrong is found")
}
