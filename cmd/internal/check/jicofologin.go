package check

import (
	"context"
	"fmt"
	"strings"
)

// lookJicofoLogin asks the running node whether jicofo is logged in there, and
// when it is not, finds out why: it does not run, it has another password, or it
// does not find the node.
func (c *checker) lookJicofoLogin(ctx context.Context) []Finding {
	if c.running == nil {
		return []Finding{skipped("the node does not run", fmt.Sprintf("systemctl start vnode@%s, then check again", c.cfg.ID))}
	}
	if c.running.Focus {
		return []Finding{ok("jicofo is logged in at the node")}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	f := Finding{Level: Fail, Why: "No conference can begin on this node, and visitors that jicofo has sent here before wait in vain.", File: c.files.jicofo}
	at := "jicofo.xmpp.visitors." + string(c.cfg.ID)
	switch refused, answers := c.refusedLogins(ctx), c.jicofoAnswers(ctx); {
	case c.running.State == "drained":
		f.Level, f.What = Warn, "the node is drained and refuses jicofo"
		f.Fix = "call the drain off: DELETE /admin/drain"
	case refused > 0:
		f.What = fmt.Sprintf("jicofo is not logged in at the node, which has refused %.0f logins by password: jicofo has another password", refused)
		_, path := c.focusPassword()
		f.Fix = fmt.Sprintf("%s.password = the one in %s, then systemctl restart jicofo", at, path)
	case answers:
		f.What = fmt.Sprintf("jicofo runs, %s answers, and is not logged in at the node", c.cfg.JicofoURL)
		f.Fix = fmt.Sprintf("%s: hostname and port of %s, then systemctl restart jicofo", at, strings.Join(c.cfg.C2S, ", "))
	case c.files.jicofo != "":
		f.What = "jicofo is not logged in at the node, and does not answer at jicofo-url: it does not run"
		f.Fix = "systemctl start jicofo; journalctl -u jicofo -n 50 says why it ended"
	default:
		f.What = "jicofo is not logged in at the node"
		f.Fix = fmt.Sprintf("on its machine: systemctl status jicofo; %s in jicofo.conf: hostname, port %s, password", at, strings.Join(c.cfg.C2S, ", "))
	}
	return []Finding{f}
}

// refusedLogins is how many logins with a password the running node has refused
// since its start.
func (c *checker) refusedLogins(ctx context.Context) (n float64) {
	metrics, err := c.running.metrics(ctx)
	if err != nil {
		return 0
	}
	for name, v := range metrics {
		if strings.HasPrefix(name, "vnode_visitor_logins_total{") && strings.Contains(name, `result="failure"`) && !strings.Contains(name, "ANONYMOUS") {
			n += v
		}
	}
	return n
}

// jicofoAnswers reports whether anything answers HTTP at jicofo-url.
func (c *checker) jicofoAnswers(ctx context.Context) bool {
	if c.cfg.JicofoURL == "" {
		return false
	}
	resp, err := httpGet(ctx, strings.TrimSuffix(c.cfg.JicofoURL, "/")+"/about/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}
