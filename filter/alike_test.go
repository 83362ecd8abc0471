// What the filter takes out of an answer, the log masks as well.

package filter

import (
	"strings"
	"testing"

	"github.com/caddy-veeam/veeam-auth/svclog"
)

func TestFilterAndLogKnowTheSameSecrets(t *testing.T) {
	const canary = "canary"
	for _, document := range []string{
		`{"displayName":"password","value":"@"}`, `{"value":"@","displayName":"password"}`, `{"name":"secret key","value":"@"}`,
		`[{"newValue":"@","x":{"value":"y"},"propertyName":"/a/0/apiKey"}]`, `{"key":"recoveryKey","defaultValue":["@"]}`,
		`{"a":[{"label":"Token","type":"string","oldValue":{"b":"@"}}]}`,
		`{"tokenValue":"@"}`, `{"passwordText":"@"}`, `{"sshKey":"@"}`, `{"recoveryKey":"@"}`, `{"licenseKey":"@"}`, `{"SSH_Key_Pem":"@"}`,
		`{"secretString":"@"}`, `{"storageAccountKeyValue":"@"}`, `{"connectionStrings":["@"]}`, `{"passwordHash":"@"}`, `{"adminPasswordBase64":"@"}`,
		`{"preSharedKey":"@"}`, `{"productKey":"@"}`, `{"keyMaterial":"@"}`, `{"blobSasUrl":"@"}`, `{"seedPhrase":"@"}`,
	} {
		document = strings.ReplaceAll(document, "@", canary)
		if got := through(t, document); strings.Contains(got, canary) {
			t.Errorf("the filter: %s", got)
		}
		if got := string(svclog.MaskJSON(nil, []byte(document))); strings.Contains(got, canary) {
			t.Errorf("the log: %s", got)
		}
	}
	for _, document := range []string{
		`{"name":"size","value":"@"}`, `{"value":"@","name":"Backup Job 1"}`, `{"errorCodeText":"@"}`, `{"keyValue":"@"}`, `{"id":"6745a759-2205-4cd2-b172-8ec8f7e60ef8","value":"@"}`,
		`{"licenseKeyId":"@"}`, `{"passwordHint":"@"}`, `{"content":"@"}`, `{"textValue":"@"}`,
	} {
		document = strings.ReplaceAll(document, "@", canary)
		if got := through(t, document); got != document {
			t.Errorf("the filter: %s", got)
		}
		if got := string(svclog.MaskJSON(nil, []byte(document))); got != document {
			t.Errorf("the log: %s", got)
		}
	}
}
