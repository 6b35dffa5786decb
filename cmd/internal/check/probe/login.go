package probe

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/xdg-go/scram"
)

// Account is an account of a node, and where to log in to it.
type Account struct {
	Address      string // host:port
	User, Domain string
	Resource     string // asked for at bind
	Password     string
	TLS          *tls.Config // nil: no STARTTLS, as on a loopback interface
}

// LogIn logs in by SCRAM-SHA-1 (RFC 5802), binds the resource (RFC 6120 §7) and ends
// the stream. It blocks until ctx ends at the latest. The error says at which step
// it failed; a stream error is a [*StreamError].
func (a *Account) LogIn(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.Address)
	if err != nil {
		return err
	}
	s := &Stream{To: a.Domain, conn: conn, client: true}
	defer s.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	f, err := s.hello()
	if err != nil {
		return err
	}
	if f.StartTLS != nil && a.TLS != nil {
		if f, err = a.startTLS(ctx, s); err != nil {
			return err
		}
	}
	if err := a.scram(s, f); err != nil {
		return err
	}
	if _, err := s.hello(); err != nil {
		return err
	}
	return a.bind(s)
}

func (a *Account) startTLS(ctx context.Context, s *Stream) (*features, error) {
	if err := s.proceed(); err != nil {
		return nil, err
	}
	conn := tls.Client(s.conn, a.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	s.conn = conn
	return s.hello()
}

const scramSHA1 = "SCRAM-SHA-1"

func (a *Account) scram(s *Stream, f *features) error {
	if !slices.Contains(f.Mechanisms, scramSHA1) {
		return fmt.Errorf("%s is not offered, but %q", scramSHA1, f.Mechanisms)
	}
	client, err := scram.SHA1.NewClient(a.User, a.Password, "")
	if err != nil {
		return fmt.Errorf("the password: %w", err)
	}
	exchange := client.NewConversation()
	first, err := exchange.Step("")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.conn, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>`, scramSHA1, encoded(first))
	if err != nil {
		return err
	}
	for !exchange.Done() {
		var data string
		if err := s.read("", &saslAnswer{&data}); err != nil {
			return err
		}
		said, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return fmt.Errorf("SASL: %w", err)
		}
		next, err := exchange.Step(string(said))
		if err != nil {
			return fmt.Errorf("SASL: %w", err)
		}
		if next == "" {
			continue
		}
		if _, err := fmt.Fprintf(s.conn, `<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</response>`, encoded(next)); err != nil {
			return err
		}
	}
	if !exchange.Valid() {
		return errors.New("SASL: the server does not know the password")
	}
	return nil
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// saslAnswer is a challenge or the success; a failure is an error.
type saslAnswer struct{ data *string }

// UnmarshalXML implements [xml.Unmarshaler].
func (a *saslAnswer) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	if start.Name.Local == "challenge" || start.Name.Local == "success" {
		return d.DecodeElement(a.data, &start)
	}
	var failure struct {
		Items []struct{ XMLName xml.Name } `xml:",any"`
	}
	if err := d.DecodeElement(&failure, &start); err != nil {
		return err
	}
	condition := start.Name.Local
	if len(failure.Items) > 0 {
		condition = failure.Items[0].XMLName.Local
	}
	return fmt.Errorf("SASL: %s", condition)
}

func (a *Account) bind(s *Stream) error {
	_, err := fmt.Fprintf(s.conn, `<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource></bind></iq>`, a.Resource)
	if err != nil {
		return err
	}
	var answer struct {
		Type  string `xml:"type,attr"`
		Error struct {
			Items []struct{ XMLName xml.Name } `xml:",any"`
		} `xml:"error"`
	}
	if err := s.read("iq", &answer); err != nil {
		return err
	}
	if answer.Type != "result" {
		condition := "error"
		if len(answer.Error.Items) > 0 {
			condition = answer.Error.Items[0].XMLName.Local
		}
		return fmt.Errorf("bind: %s", condition)
	}
	return nil
}
