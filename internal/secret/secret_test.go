package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const hunter = "hunter2-canary"

func TestEveryPrintedFormIsTheMask(t *testing.T) {
	v := New(hunter)
	type exported struct{ Password Value }
	type unexported struct{ password Value }
	subjects := map[string]any{
		"value":      v,
		"pointer":    &v,
		"exported":   exported{v},
		"unexported": unexported{v},
		"slice":      []Value{v},
		"map":        map[string]Value{"k": v},
		"nested":     struct{ in []unexported }{[]unexported{{v}}},
	}
	for name, subject := range subjects {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T|%v", "%p"} {
			var out string
			if strings.HasPrefix(verb, "%T") {
				out = fmt.Sprintf(verb, subject, subject)
			} else {
				out = fmt.Sprintf(verb, subject)
			}
			assertClean(t, name+" "+verb, out)
		}
		asJSON, err := json.Marshal(subject)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		assertClean(t, name+" json", string(asJSON))

		var buf bytes.Buffer
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "subject", subject)
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "subject", subject)
		enc := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
		zap.New(zapcore.NewCore(enc, zapcore.AddSync(&buf), zap.DebugLevel)).
			Info("x", zap.Any("any", subject), zap.Reflect("reflect", subject))
		assertClean(t, name+" loggers", buf.String())
	}
	asXML, err := xml.Marshal(exported{v})
	if err != nil {
		t.Fatal(err)
	}
	assertClean(t, "xml", string(asXML))
	assertClean(t, "error", fmt.Errorf("wrapping %w: %v", fmt.Errorf("%v", v), v).Error())
}

func assertClean(t *testing.T, what, out string) {
	t.Helper()
	for _, form := range []string{hunter, fmt.Sprintf("%x", hunter), fmt.Sprintf("%X", hunter)} {
		if strings.Contains(out, form) {
			t.Errorf("%s prints the secret: %s", what, out)
		}
	}
}

func TestMaskIsShownWhereAValueIsPrinted(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, New(hunter)); got != Mask {
			t.Errorf("%s: %q", verb, got)
		}
	}
}

func TestRevealEqualAndZero(t *testing.T) {
	if New(hunter).Reveal() != hunter || !New("").IsZero() || New(hunter).IsZero() || (Value{}).Reveal() != "" {
		t.Error("Reveal or IsZero is wrong")
	}
	if !New("a").Equal(New("a")) || New("a").Equal(New("b")) || New("a").Equal(Value{}) || !(Value{}).Equal(New("")) {
		t.Error("Equal is wrong")
	}
}
