package browser

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A page is shown, its complaints are heard, and axe finds what a blind person
// would stumble over.
func TestAPageIsDrivenAndChecked(t *testing.T) {
	const page = `<!doctype html><html lang="en"><title>A page</title><main><h1>Hello</h1>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="></main><script>console.error("oh", 7); undefined.x</script>`
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	defer web.Close()

	tab := Run(t).Tab(t)
	var heading string
	require.NoError(t, tab.Run(chromedp.Navigate(web.URL), chromedp.Text("h1", &heading)))
	require.Equal(t, "Hello", heading)
	problems := strings.Join(tab.Problems(), "\n")
	require.Contains(t, problems, `"oh" 7`)
	require.Contains(t, problems, "TypeError")

	found, err := tab.Axe()
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "image-alt", found[0].ID)
	require.Contains(t, found[0].String(), "<img src=")
}

// What is not on this machine is not reached: a page that loads from elsewhere
// fails, whoever runs the test.
func TestNothingElseIsReached(t *testing.T) {
	tab := Run(t).Tab(t)
	require.ErrorContains(t, tab.Run(chromedp.Navigate("http://meet.example/")), "ERR_NAME_NOT_RESOLVED")
}

// The lock file names no place to load from: npm asks the registry it is set
// to.
func TestTheLockFileNamesNoRegistry(t *testing.T) {
	b, err := os.ReadFile("package-lock.json")
	require.NoError(t, err)
	var lock struct {
		Packages map[string]struct{ Resolved, Integrity string }
	}
	require.NoError(t, json.Unmarshal(b, &lock))
	require.Greater(t, len(lock.Packages), 1)
	for name, p := range lock.Packages {
		require.Empty(t, p.Resolved, name)
		if name != "" {
			require.NotEmpty(t, p.Integrity, name)
		}
	}
	require.NotContains(t, string(b), "://")
}

func TestAMissingModuleSaysHowToInstallIt(t *testing.T) {
	_, err := Module("no-such-module/x.js")
	require.ErrorContains(t, err, ".ci/deps test")
	require.ErrorIs(t, err, os.ErrNotExist)
}
