// The table of rules: which operation is of which class, and why.
//
// The first row that fits decides. Rows for a product come first, then rows for
// all. There is no row for the rest: an operation that none was written for is
// Unknown, and a test fails. For the same reason the general rows leave alone
// what sounds like a credential: such an operation needs a row of its own.

package build

import "github.com/caddy-veeam/veeam-auth/policy/operation"

const (
	read    = operation.Read
	run     = operation.Run
	change  = operation.Change
	destroy = operation.Destroy
	secret  = operation.Secret
)

const (
	// credentials are words of operations that may be about one.
	credentials = "password|passphrase|secret|token|key|credential|certificate|apikey|rsa|totp|mfa|oauth|signin|authcode|devicecode|authoriz"

	// rights are words of operations that may be about who may do what.
	rights = "user|role|permission|account|login|identity|saml|acl|operator|rbac|owner"

	// handsOut are words of operations that may send more than a description.
	handsOut = "download|package|kit|export|media|save|reveal|generate|create|start|complete|log"

	getter  = "Get*|*_Get*|get_*|View*|List*|*_List*|*Browse*|*GetAll|*GetOneById|*GetByName|*Get*ById"
	creator = "Create*|Add*|*_Create*|*_Add*|create_*|add_*|*_Append*"
	working = "start|stop|retry"
)

// The reasons that several rows share.
const (
	login     = "issues tokens; the handler answers it before any rule"
	logout    = "ends the shared session; the handler answers it before any rule"
	anonymous = "documented to work without a token"
	holds     = "the record has the credential, or the content of the answer is not documented"
	gives     = "creates or replaces a credential"
	oracle    = "tells whether a password is right, without a limit of tries"
	signIn    = "a step of a federated sign-in: exchanges codes for tokens"
	who       = "controls permissions, or how users authenticate"
	content   = "returns the content of backups, which contains credentials"
	kit       = "returns software with the keys of this installation"
	logs      = "returns complete logs"
	elsewhere = "uses stored credentials at an address from the request"
	howItWent = "reports the result of work"
	look      = "searches and changes nothing"
	report    = "a report or an export of settings, requested with POST"
	checks    = "validates and changes nothing"
	work      = "starts, stops or resumes configured work"
	onOff     = "enables or disables a configured object"
	edits     = "changes settings or configured objects"
	restores  = "restores, mounts or moves data"
	drops     = "discards data or a mounted machine"
	removes   = "removes the named object"
	public    = "returns the public part of a certificate"
	keyNames  = "names of keys"
	describe  = "returns metadata without credentials"
)

var rules = []rule{
	// Backup & Replication: logins, users, credentials.
	{product: "vbr", path: "/api/oauth2/token|authorization_code", class: secret, why: login},
	{product: "vbr", path: "/api/oauth2/logout", class: change, why: logout},
	{product: "vbr", method: "POST PUT", path: "security/**", class: secret, why: who},
	{product: "vbr", method: "GET", path: "security/**", class: read, why: describe},
	{product: "vbr", method: "POST", path: "acl", class: read, why: look},
	{product: "vbr", method: "POST", path: "acl/**", class: secret, why: who},
	{product: "vbr", method: "POST", path: "registerVbr", class: secret, why: "hands control of the server to another server"},
	{product: "vbr", method: "GET", path: "authorization/events/**", class: read, why: describe},
	{product: "vbr", method: "GET", path: "cloudCredentials/{}/helperAppliances/**", class: read, why: describe},
	{product: "vbr", method: "POST", path: "cloudCredentials/{}/helperAppliances", class: change, why: edits},
	{product: "vbr", method: "GET POST PUT", path: "credentials|cloudCredentials/**", class: secret, why: holds},
	{product: "vbr", method: "POST", path: "encryptionPasswords/{}/verify", class: secret, why: oracle},
	{product: "vbr", method: "POST PUT", path: "encryptionPasswords/**", class: secret, why: gives},
	{product: "vbr", method: "GET", path: "encryptionPasswords/**", class: read, why: "names and hints only"},
	{product: "vbr", path: "automation/credentials|cloudCredentials|encryptionPasswords/*", class: secret, why: holds},
	{product: "vbr", method: "GET POST PUT", path: "agents/recoveryTokens/**", class: secret, why: holds},
	{product: "vbr", path: "backupInfrastructure/managedServers/{}/updateSingleUseCredentials", class: secret, why: gives},
	{product: "vbr", path: "kmsServers/{}/changeCertificate", class: secret, why: gives},
	{product: "vbr", path: "generalOptions/nodeExporterSettings/setBasicAuth", class: secret, why: gives},
	{product: "vbr", method: "POST", path: "inventory/entraId/tenants", class: secret, why: gives},
	{product: "vbr", path: "restore/flr/{}/validateCredentials", class: secret, why: oracle},
	{product: "vbr", path: "restore/entraId/tenant/deviceCode|authCode/**", class: secret, why: signIn},
	{product: "vbr", path: "restore/entraId/tenant/{}/authCode/startAuthorization", class: secret, why: signIn},
	{product: "vbr", method: "POST", path: "connectionCertificate", class: secret, why: holds},
	{product: "vbr", method: "GET", path: "serverCertificate", class: read, why: anonymous},

	// Backup & Replication: what hands out more than descriptions.
	{product: "vbr", path: "deployment/**", class: secret, why: kit},
	{product: "vbr", path: "agents/protectionGroups/{}/packages", class: secret, why: kit},
	{product: "vbr", method: "GET", path: "agents/packages/*", class: read, why: "lists packages"},
	{product: "vbr", method: "GET", path: "**/createRecoveryMedia", class: secret, why: kit},
	{product: "vbr", method: "POST", path: "**/createRecoveryMedia", class: change, why: edits},
	{product: "vbr", path: "recoveryMedia/{}/download", class: secret, why: kit},
	{product: "vbr", path: "exportlogs/{}/download", class: secret, why: logs},
	{product: "vbr", path: "exportlogs", class: run, why: work},
	{product: "vbr", method: "GET", path: "malwareDetection/analyzeEncryption/{}/logs", class: secret, why: logs},
	{product: "vbr", method: "GET", path: "malwareDetection/scanSessionLog/{}", class: read, why: howItWent},
	{product: "vbr", method: "GET", path: "**/sessions|taskSessions/{}/logs", class: read, why: howItWent},
	{product: "vbr", path: "backupBrowser/**/download", class: secret, why: content},
	{product: "vbr", path: "backupBrowser/entraIdTenant/{}/export|exportToJson*/**", class: secret, why: content},
	{product: "vbr", path: "backupBrowser/entraIdTenant/{}/passwords/generate", class: secret, why: gives},
	{product: "vbr", path: "backupBrowser/entraIdTenant/{}/revealBitlockerRecoveryKey", class: secret, why: content},
	{product: "vbr", method: "GET", path: "backupBrowser/entraIdTenant/{}/restoreSessions/{}/logs", class: read, why: howItWent},

	// Backup & Replication: reads by POST, and what only sounds like one.
	{product: "vbr", method: "POST", path: "automation/jobs|managedServers|proxies|repositories/export", class: read, why: report},
	{product: "vbr", method: "POST", path: "automation/*/import", class: change, why: edits},
	{product: "vbr", method: "POST", path: "license/createReport", class: read, why: report},
	{product: "vbr", method: "POST", path: "generalOptions/hostAuthentication/exportTrustedHosts", class: read, why: report},
	{product: "vbr", method: "POST", path: "backupBrowser/**/browse|search|compare*|restorePoints|validate|startCompare|startRecursiveCompare|checkProductionItems", class: read, why: look},
	{product: "vbr", method: "POST", path: "backupBrowser/entraIdTenant/{}/browse/{}", class: read, why: look},
	{product: "vbr", method: "POST", path: "backupBrowser/**/restore|restoreTo|restoreItems|restoreItemAttributes|copyTo|prepareDownload|upload*", class: change, why: restores},
	{product: "vbr", method: "POST", path: "restore/flr/{}/validateRestoreItemTargetPath", class: read, why: checks},
	{product: "vbr", method: "POST", path: "restorePoints/{}/networkInfo", class: read, why: look},
	{product: "vbr", method: "POST", path: "backups/{}/details", class: read, why: look},
	{product: "vbr", method: "POST", path: "diskManagement/{}/resizePartitionOptions", class: read, why: checks},
	{product: "vbr", method: "POST", path: "inventory/unstructuredDataServers", class: change, why: edits},
	{product: "vbr", method: "POST", path: "inventory/unstructuredDataServers/**", name: "*Browse*", unless: "stop", class: read, why: look},
	{product: "vbr", method: "POST", path: "inventory", class: read, why: look},
	{product: "vbr", method: "POST", path: "inventory/physical/**", class: read, why: look},
	{product: "vbr", method: "POST", path: "inventory/{}|retrieveMachineDetails", class: read, why: look},
	{product: "vbr", method: "POST", path: "cloudBrowser/initializeVault", class: secret, why: holds},
	{product: "vbr", method: "POST", path: "cloudBrowser/newFolder", class: change, why: edits},
	{product: "vbr", method: "POST", path: "cloudBrowser/**", name: "Browse*", class: read, why: look},
	{product: "vbr", method: "POST", path: "backupInfrastructure/managedServers/*Hosts", class: change, why: elsewhere},
	{product: "vbr", method: "POST", path: "generalOptions/emailSettings/checkSmtpConnection|testMessage", class: change, why: elsewhere},

	// Backup & Replication: work, and what is changed or lost by POST.
	{product: "vbr", method: "POST", path: "jobs|agents|backupInfrastructure/**/enable|disable", unless: "mode", class: run, why: onOff},
	{product: "vbr", method: "POST", path: "jobs/quickBackup/*", class: run, why: work},
	{product: "vbr", method: "POST", path: "jobs/{}/applyConfiguration", class: run, why: work},
	{product: "vbr", method: "POST", path: "configBackup/backup", class: run, why: work},
	{product: "vbr", method: "POST", path: "backups/runHealthcheck", class: run, why: work},
	{product: "vbr", method: "POST", path: "backups/{}/downloadBackupMeta", class: run, why: "imports metadata from object storage"},
	{product: "vbr", method: "POST", path: "backups/moveCopySessions/{}/manage", class: run, why: work},
	{product: "vbr", method: "POST", path: "malwareDetection/scanBackup|analyzeEncryption", class: run, why: work},
	{product: "vbr", method: "POST", path: "restore/instantRecovery/**/unmount|dismount", class: destroy, why: drops},
	{product: "vbr", method: "POST", path: "failover|failback/undo*/**", class: destroy, why: drops},
	{product: "vbr", method: "POST", path: "diskManagement/{}/eraseDisk|removePartition", class: destroy, why: drops},
	{product: "vbr", method: "POST", path: "license/remove", class: destroy, why: removes},
	{product: "vbr", method: "POST", path: "license/instances/{}/remove", class: destroy, why: removes},
	{product: "vbr", method: "POST", path: "agents/**/uninstall*", class: destroy, why: removes},
	{product: "vbr", method: "POST", path: "backupInfrastructure/helperApplianceTemplates/remove", class: destroy, why: removes},
	{product: "vbr", method: "POST", path: "malwareDetection/backupObjects/exclusions/delete", class: destroy, why: removes},
	{product: "vbr", method: "POST", path: "restore/**/stop", class: run, why: work},
	{product: "vbr", method: "POST PUT", path: "restore|failover|failback|diskManagement|dataIntegration/**", class: change, why: restores},
	{product: "vbr", method: "POST", path: "backups/**/copyTo|moveTo", class: change, why: restores},
	{product: "vbr", method: "POST", path: "agents/**/reboot|trust|prepareForRemoteBmr|recreateEmbeddedRm|install*|upgradeAgent|attachBackup|detachBackup", class: change, why: edits},
	{product: "vbr", method: "POST", path: "backupInfrastructure/scaleOutRepositories/{}/*", class: change, why: edits},
	{product: "vbr", method: "POST", path: "backupInfrastructure/helperApplianceTemplates|mountServers|managedServers/**/updateComponents|default", class: change, why: edits},
	{product: "vbr", method: "POST", path: "backupInfrastructure/helperApplianceTemplates|mountServers", class: change, why: edits},
	{product: "vbr", method: "PUT", path: "backupInfrastructure/*/{}/accessPermissions", class: change, why: "controls which repositories agents may use"},
	{product: "vbr", method: "GET", path: "backupInfrastructure/*/{}/accessPermissions", class: read, why: describe},
	{product: "vbr", method: "POST", path: "license/**", class: change, why: edits},
	{product: "vbr", method: "POST", path: "malwareDetection/**", class: change, why: edits},
	{product: "vbr", method: "POST", path: "backups/{}/backupFiles/{}/markAs*", class: change, why: edits},
	{product: "vbr", method: "POST", path: "securityAnalyzer/bestPractices/**", class: change, why: edits},
	{product: "vbr", method: "POST", path: "highAvailabilityCluster/*", class: change, why: edits},
	{product: "vbr", method: "POST", path: "jobs/{}/clone|clearCache", class: change, why: edits},
	{product: "vbr", method: "POST", path: "generalOptions/hostAuthentication/importTrustedHosts", class: change, why: edits},

	// Service Provider Console: logins, users, credentials.
	{product: "vspc", method: "POST", path: "token", class: secret, why: login},
	{product: "vspc", path: "authentication/**", class: secret, why: "creates or decrypts key pairs and secrets"},
	{product: "vspc", path: "users/{}/tokens", class: destroy, why: "ends all sessions of the user"},
	{product: "vspc", method: "POST", path: "users/serviceProvider/localUserRule/discovery", class: read, why: look},
	{product: "vspc", method: "PATCH", path: "users/{}/backupResource", class: change, why: edits},
	{product: "vspc", method: "POST PUT PATCH", path: "users/**", class: secret, why: who},
	{product: "vspc", method: "GET", path: "users/**", class: read, why: "API keys are shown once, at their creation"},
	{product: "vspc", method: "GET", path: "organizations/{}/keys", class: secret, why: holds},
	{product: "vspc", method: "POST", path: "organizations/identityProviders/name", class: read, why: checks},
	{product: "vspc", method: "POST PATCH", path: "organizations/{}/identityProviders/**", class: secret, why: who},
	{product: "vspc", method: "GET", path: "organizations/**/identityProviders|users/**", class: read, why: describe},
	{product: "vspc", method: "PATCH", path: "permissions/{}", class: secret, why: who},
	{product: "vspc", method: "GET", path: "permissions/{}", class: read, why: describe},
	{product: "vspc", path: "plugins/{}/apikey", class: secret, why: gives},
	{product: "vspc", path: "organizations/{}/configuration/refreshsecuritytoken", class: secret, why: gives},
	{product: "vspc", path: "organizations/{}/configuration/notification/oauth2/**", class: secret, why: signIn},
	{product: "vspc", method: "GET PATCH", path: "organizations/{}/configuration/notification", class: secret, why: holds},
	{product: "vspc", path: "**/deviceCode/**", class: secret, why: signIn},
	{product: "vspc", method: "POST", path: "organizations/companies|resellers", class: secret, why: "creates the login of its owner"},
	{product: "vspc", path: "pulse/tenants/{}/createCompany", class: secret, why: "creates the login of its owner"},
	{product: "vspc", name: "create_tenant|patch_tenant", class: secret, why: "sets the credential of a tenant"},
	{product: "vspc", method: "PATCH", path: "pulse", class: secret, why: gives},
	{product: "vspc", method: "GET", path: "pulse", class: read, why: describe},
	{product: "vspc", method: "GET", path: "proxy/sessions", class: secret, why: "sessions at other products, with their identifiers"},
	{product: "vspc", method: "GET POST PATCH PUT", path: "infrastructure/backupServers/{}/credentials|encryptionPasswords/**", class: secret, why: holds},
	{product: "vspc", method: "GET PUT", path: "infrastructure/managementAgents/{}/credentials", class: secret, why: holds},
	{product: "vspc", method: "POST", path: "infrastructure/sites/publicCloud/accounts|guestOsCredentials|sqlAccounts/sync", class: run, why: work},
	{product: "vspc", method: "GET", path: "infrastructure/sites/publicCloud/sqlAccounts/appliances", class: read, why: describe},
	{product: "vspc", method: "GET POST PATCH", path: "infrastructure/sites/publicCloud/guestOsCredentials|sqlAccounts/**", class: secret, why: holds},
	{product: "vspc", method: "POST PATCH", path: "infrastructure/sites/{}/publicCloud/*/accounts|keys/**", class: secret, why: gives},
	{product: "vspc", method: "GET", path: "infrastructure/sites/{}/publicCloud/*/accounts|keys/**", class: read, why: "names and regions"},
	{product: "vspc", method: "GET POST PATCH", path: "infrastructure/vb365Servers/{}/organizations/Microsoft365", class: secret, why: holds},
	{product: "vspc", method: "GET POST PATCH", path: "infrastructure/vb365Servers/{}/organizations/Microsoft365/{}", class: secret, why: holds},
	{product: "vspc", method: "GET", path: "infrastructure/vb365Servers/{}/organizations/Microsoft365/{}/certificate/exist", class: read, why: checks},
	{product: "vspc", method: "PUT", path: "configuration/certificates/console", class: secret, why: gives},
	{product: "vspc", method: "GET", path: "configuration/certificates/**", class: read, why: public},
	{product: "vspc", path: "infrastructure/sites/publicCloud/appliances/{}/certificate/**", class: read, why: public},
	{product: "vspc", path: "infrastructure/managementAgents/packages/*", class: secret, why: kit},
	{product: "vspc", method: "GET", path: "infrastructure/backupServers/**/users", class: read, why: describe},
	{product: "vspc", method: "GET", path: "infrastructure/sites/**/users", class: read, why: describe},

	// Service Provider Console: reads that do not look it.
	{product: "vspc", method: "GET", path: "deployment/deploy/{}/log/{}", class: read, why: howItWent},
	{product: "vspc", method: "GET", path: "eventLogs/*", class: read, why: describe},
	{product: "vspc", method: "GET", path: "licensing/reports/{}/csv", class: read, why: report},
	{product: "vspc", method: "GET", path: "organizations/companies/billing/invoices/{}/pdf", class: read, why: report},
	{product: "vspc", method: "GET", path: "organizations/{}/configuration/loginUrl", class: read, why: describe},
	{product: "vspc", method: "GET", path: "plugins/user/islogged", class: read, why: describe},
	{product: "vspc", method: "POST", path: "deployment/deploy/{}/wait", class: read, why: look},
	{product: "vspc", method: "POST", path: "**/objects/expand", class: read, why: look},
	{product: "vspc", method: "POST", path: "infrastructure/sites/{}/publicCloud/aws/appliances/validate", class: change, why: elsewhere},
	{product: "vspc", method: "POST", path: "pulse/licenses/{}/download", class: read, why: "a licence file"},

	// Service Provider Console: work.
	{product: "vspc", path: "asyncActions/{}", method: "DELETE", class: run, why: "cancels work"},
	{product: "vspc", path: "asyncActions/{}/result", method: "DELETE", class: run, why: "removes the results of work"},
	{product: "vspc", method: "POST", path: "infrastructure/**/jobs|policies/**/enable|disable", class: run, why: onOff},
	{product: "vspc", method: "POST", path: "infrastructure/backupServers/failoverplans/{}/start", class: change, why: restores},
	{product: "vspc", method: "POST", path: "infrastructure/backupServers/failoverplans/{}/undo", class: destroy, why: drops},
	{product: "vspc", method: "POST", path: "**/uninstall*", class: destroy, why: removes},
	{product: "vspc", method: "POST", path: "**/collect|restart", class: run, why: work},
	{product: "vspc", method: "POST", path: "pulse/sync", class: run, why: work},
	{product: "vspc", method: "POST", path: "infrastructure/managementAgents/{}/adTree/discover", class: run, why: work},
	{product: "vspc", method: "POST", path: "alarms/active/{}/acknowledge|resolve", class: change, why: edits},

	// Service Provider Console: changes by POST.
	{product: "vspc", method: "POST", path: "**/clone|copy|reset|reboot|registeredBackupServers|assign|assignedPolicies|activate|deactivate|accept|connect|deploy|mapping|companies", class: change, why: edits},
	{product: "vspc", method: "POST", path: "**/install*|update|upgrade|patch|predownload|abort|complete|create|uploadPart", class: change, why: "installs or updates software, or prepares it"},
	{product: "vspc", method: "POST", path: "**/enable|disable|enabled", class: change, why: "enables or disables tenants, alarms or plugins"},
	{product: "vspc", method: "POST", path: "plugins/{}/agents|organizations", class: change, why: edits},
	{product: "vspc", method: "POST", path: "**/renewInstallationUid|finalization|changePaidState|revoke", class: change, why: edits},
	{product: "vspc", method: "POST", path: "organizations/**/generateInvoices|generateQuotaUsageReport", class: change, why: "creates and stores a document"},
	{product: "vspc", method: "POST", path: "organizations/**/send|welcomeEmail|test", class: change, why: "sends mail"},
	{product: "vspc", method: "PUT", path: "organizations/{}/configuration/loginUrl", class: change, why: edits},

	// Microsoft 365: logins, roles, credentials.
	{product: "vb365", method: "POST", path: "token", class: secret, why: login},
	{product: "vb365", method: "POST", path: "token/AuthCode", class: secret, why: login},
	{product: "vb365", method: "POST", path: "token/logout", class: change, why: logout},
	{product: "vb365", method: "POST PUT", path: "Accounts|AzureServiceAccounts|EncryptionKeys/**", class: secret, why: gives},
	{product: "vb365", method: "GET", path: "Accounts|EncryptionKeys/**", class: secret, why: holds},
	{product: "vb365", method: "GET", path: "AzureServiceAccounts/**", class: read, why: describe},
	{product: "vb365", path: "**/DeviceCode|restoreDeviceCode|CompleteOAuthSignIn|PrepareOAuthSignIn", class: secret, why: signIn},
	{product: "vb365", path: "DeviceCode/check", class: secret, why: signIn},
	{product: "vb365", method: "POST PUT", path: "**/RbacRoles/**", class: secret, why: who},
	{product: "vb365", method: "GET", path: "**/RbacRoles/**", class: read, why: describe},
	{product: "vb365", method: "GET", path: "Organization/LoggedInUser/**", class: read, why: describe},
	{product: "vb365", method: "POST PUT", path: "Organizations/{}/Applications|BackupApplications|BackupAccounts", class: secret, why: gives},
	{product: "vb365", method: "PUT", path: "Organizations/{}", class: secret, why: gives},
	{product: "vb365", method: "POST", path: "Proxies/CheckSshConnectionConfig", class: change, why: elsewhere},
	{product: "vb365", method: "POST", path: "*EmailSettings/SendTest*", class: change, why: elsewhere},
	{product: "vb365", method: "POST", path: "**/save|exportToPst|export|send|sendTo*|start*Export*|operatorStartExport*", class: secret, why: content},
	{product: "vb365", method: "GET", path: "**/operatorExport/{}", class: secret, why: content},
	{product: "vb365", method: "POST", path: "RestoreSessions/**/search|searchExchange|searchTeams", class: read, why: look},
	{product: "vb365", method: "POST", path: "Reports/Generate*", class: read, why: report},
	{product: "vb365", method: "POST", path: "RestoreSessions/**/restore|restoreTo|copyTo|operatorRestore", class: change, why: restores},
	{product: "vb365", method: "POST", path: "**/explore|OperatorExplore", class: change, why: restores},
	{product: "vb365", method: "POST", path: "Jobs|CopyJobs/{}/enable|disable", class: run, why: onOff},
	{product: "vb365", method: "GET", path: "*Sessions/{}/LogItems/**", class: read, why: howItWent},
	{product: "vb365", method: "GET", path: "**/RetentionExclusion|GlobalRetentionExclusionSettings", class: read, why: describe},
	{product: "vb365", method: "POST", path: "RepositoryOwnerChangeSessions/{}/Stop", class: run, why: work},
	{product: "vb365", method: "POST", path: "**/Sync|StopSynchronize", class: run, why: work},
	{product: "vb365", method: "POST", path: "**/Remove", class: destroy, why: removes},
	{product: "vb365", method: "POST", path: "Proxies/{}/maintenance/enable|disable", class: change, why: edits},
	{product: "vb365", method: "POST", path: "License/Install|Update", class: change, why: edits},
	{product: "vb365", method: "POST", path: "licensing/**/approve", class: change, why: edits},
	{product: "vb365", method: "POST", path: "BackupRepositories/{}/changeOwner", class: change, why: edits},
	{product: "vb365", method: "POST", path: "Organizations/{}/AuditItems", class: change, why: edits},

	// The plug-in for Nutanix AHV.
	{product: "ahv", method: "POST", path: "clusters/validateConnection", class: change, why: elsewhere},
	{product: "ahv", method: "POST", path: "jobs/validate", class: read, why: checks},
	{product: "ahv", method: "POST", path: "**/refreshAsync", class: run, why: work},
	{product: "ahv", method: "POST", path: "jobs|workers/{}/enable|disable", class: run, why: onOff},
	{product: "ahv", method: "POST", path: "workers/{}/test", class: run, why: "tests a configured worker"},
	{product: "ahv", method: "POST", path: "jobs/{}/clone", class: change, why: edits},
	{product: "ahv", method: "POST", path: "instantRecovery/sessions/{}/stop", class: destroy, why: drops},
	{product: "ahv", method: "POST", path: "instantRecovery/sessions/{}/startMigration", class: change, why: restores},
	{product: "ahv", method: "POST", path: "instantRecovery|instantDiskRecovery", class: change, why: restores},
	{product: "ahv", method: "POST", path: "restorePoints/restore|diskRestore", class: change, why: restores},

	// Enterprise Manager: logins, users, credentials. A list is asked for whole records
	// by a parameter, so it has the class of its items; so has the query of their type.
	{product: "em", method: "POST", path: "sessionMngr", class: secret, why: login},
	{product: "em", method: "DELETE", path: "logonSessions/{}", class: change, why: "ends a session"},
	{product: "em", method: "GET", path: "logonSessions", class: secret, why: "sessions, with their identifiers"},
	{product: "em", method: "GET POST PUT", path: "backupServers/{}/credentials|passwords/**", class: secret, why: holds},
	{product: "em", method: "GET", path: "query/?type=Credentials|?type=Passwords|?type=CloudTenant|?type=CloudSubtenant", class: secret, why: holds},
	{product: "em", method: "GET", path: "cloud/**/tenants|subtenants", class: secret, why: holds},
	{product: "em", method: "POST PUT", path: "cloud/tenants", class: secret, why: gives},
	{product: "em", method: "POST PUT", path: "cloud/tenants/{}", class: secret, why: gives},
	{product: "em", method: "POST PUT", path: "cloud/tenants/{}/subtenants/**", class: secret, why: gives},
	{product: "em", method: "POST", path: "backupServers/?action=create", class: secret, why: gives},
	{product: "em", method: "PUT", path: "backupServers/{}", class: secret, why: gives},
	{product: "em", method: "POST", path: "security/**", class: secret, why: who},
	{product: "em", method: "POST PUT", path: "selfService|vCloud/**/Configs|orgConfigs", class: secret, why: who},
	{product: "em", method: "PUT", path: "selfService|vCloud/**/Configs|orgConfigs/{}", class: secret, why: who},
	{product: "em", method: "GET", path: "**/mounts/{}/{}", class: secret, why: content},

	// Enterprise Manager: the rest.
	{product: "em", method: "GET", path: "catalog/**", class: read, why: "lists files, without their content"},
	{product: "em", method: "POST", path: "failoverPlans|cloud/**/?action=start|?action=test", class: change, why: restores},
	{product: "em", method: "POST", path: "failoverPlans|cloud/**/?action=undo", class: destroy, why: drops},
	{product: "em", method: "POST", path: "agents|jobs|backupSessions/**/?action=start|?action=stop|?action=retry", class: run, why: work},
	{product: "em", method: "POST", path: "jobs/{}/?action=sync", class: run, why: work},
	{product: "em", method: "POST", path: "backupServers/{}/?action=collect|?action=quickbackup", class: run, why: work},
	{product: "em", method: "POST", path: "**/?action=toggleScheduleEnabled|toggleScheduleEnabled", class: run, why: onOff},
	{product: "em", method: "POST", path: "cdpPolicies/{}/?action=enable|?action=disable", class: run, why: onOff},
	{product: "em", method: "POST", path: "backupServers/{}/?action=veeamzip", class: change, why: "creates a backup outside of the jobs"},
	{product: "em", method: "POST", path: "vCloud/orgConfigs/{}/?action=disable", class: change, why: edits},
	{product: "em", method: "POST", path: "jobs/{}/?action=clone", class: change, why: edits},
	{product: "em", method: "POST", path: "jobs|cdpPolicies/{}/includes|linkedBackupRepositories|linkedJobs", class: change, why: edits},
	{product: "em", method: "POST", path: "cloud/**", class: change, why: edits},
	{product: "em", method: "POST", path: "**/?action=restore|?action=browse|?action=failover|mounts", class: change, why: restores},
	{product: "em", method: "POST", path: "**/?action=intervals", class: change, why: "its effect is not documented"},

	// Veeam ONE.
	{product: "one", method: "POST", path: "/api/token", class: secret, why: login},
	{product: "one", method: "POST", path: "/api/revoke", class: change, why: logout},
	{product: "one", path: "about/updater", class: secret, why: "leads to the updater, by an address with a token"},
	{product: "one", method: "POST", path: "about/logs", class: run, why: work},
	{product: "one", method: "POST", path: "about/logs/tasks/{}/status", class: read, why: howItWent},
	{product: "one", method: "GET", path: "certificates/export", class: secret, why: "returns a certificate, perhaps with its key"},
	{product: "one", method: "GET POST PATCH", path: "credentials/**", class: secret, why: holds},
	{product: "one", method: "GET", path: "reportPacks/templates/{}/link", class: secret, why: "an address that may carry a login"},
	{product: "one", method: "GET", path: "configuration", class: secret, why: holds},
	{product: "one", method: "GET", path: "vbrJobs/transactionLogBackupJobs/**", class: read, why: describe},
	{product: "one", method: "POST", path: "alarms/**/resolve", class: change, why: edits},

	// Microsoft Azure and AWS: logins, users, credentials.
	{product: "azure", method: "POST", path: "/api/oauth2/token", class: secret, why: login},
	{product: "azure", method: "DELETE", path: "/api/oauth2/token", class: change, why: logout},
	{product: "aws gcp", method: "POST", path: "token/**", class: secret, why: login},
	{product: "aws", method: "DELETE", path: "token", class: change, why: logout},
	{product: "azure aws", method: "POST", path: "users|repositories|policies/export", class: read, why: report},
	{product: "aws", method: "POST", path: "users/validate*", class: read, why: "validates a new name or password"},
	{product: "aws", method: "POST", path: "users/checkInstanceId", class: secret, why: "requests a proof of ownership"},
	{product: "azure aws", method: "POST PUT", path: "users/**", class: secret, why: who},
	{product: "azure aws", method: "GET", path: "users|userStatus/**", class: read, why: describe},
	{product: "azure", method: "POST PUT", path: "settings/saml2/**", class: secret, why: who},
	{product: "azure", method: "GET", path: "settings/saml2/**", class: read, why: anonymous},
	{product: "azure aws", method: "POST PUT", path: "settings/certificates/**", class: secret, why: gives},
	{product: "azure aws", method: "GET", path: "settings/certificates/**", class: read, why: public},
	{product: "azure aws", path: "repositories/{}/checkPassword", class: secret, why: oracle},
	{product: "azure", path: "veeamVaults/oauth2/**", class: secret, why: signIn},
	{product: "azure", path: "veeamVaults/importAccount", class: secret, why: gives},
	{product: "azure", method: "POST", path: "veeamVaults/registration", class: change, why: edits},
	{product: "azure", path: "system/updaterLink", class: secret, why: "leads to the updater, which has its own login"},
	{product: "azure aws", method: "GET", path: "system/logs", class: secret, why: logs},
	{product: "azure", method: "GET", path: "configurationBackup/export/status/{}", class: read, why: describe},
	{product: "azure", path: "configurationBackup/export/*", class: secret, why: "returns the configuration with its credentials"},
	{product: "azure", method: "POST", path: "accounts/azure/service/list*|isUserOwnerOfAdApp|exportPermissions*", class: read, why: look},
	{product: "azure", method: "POST", path: "accounts/azure/service/{}/checkPermissions", class: read, why: checks},
	{product: "azure", method: "PUT", path: "accounts/azure/service/updateByApp/{}/validate", class: read, why: checks},
	{product: "azure", method: "PUT", path: "accounts/azure/service/{}/selectForWorkermanagement", class: change, why: edits},
	{product: "azure aws", path: "accounts/amazon/{}/rescan", class: run, why: work},
	{product: "azure aws", method: "POST", path: "accounts/**/export|validate*", class: read, why: report},
	{product: "azure aws", method: "POST PUT", path: "accounts/**", class: secret, why: gives},
	{product: "aws", method: "PUT", path: "settings/serviceAccount", class: secret, why: gives},
	{product: "aws", method: "GET", path: "settings/serviceAccount", class: read, why: describe},
	{product: "aws", method: "GET", path: "amazonConnections/{}/cloudEncryptionKeys", class: read, why: keyNames},
	{product: "azure", method: "GET", path: "cloudInfrastructure/keyVaults/**", class: read, why: keyNames},
	{product: "azure", method: "GET", path: "cloudInfrastructure/tenants/withAccount", class: read, why: describe},
	{product: "azure aws", method: "POST", path: "license|licensing/**/export", class: read, why: report},
	{product: "aws", method: "GET", path: "licenseAgreement/download", class: read, why: anonymous},
	{product: "aws", method: "GET", path: "problems/*", class: read, why: anonymous},

	// Microsoft Azure and AWS: the rest that is asked for by POST.
	{product: "azure", method: "POST", path: "flr/{}/browse", class: read, why: look},
	{product: "azure", method: "POST", path: "flr/{}/search/start", class: read, why: look},
	{product: "azure", method: "POST", path: "flr/{}/search/{}/nextPage", class: read, why: look},
	{product: "azure", method: "POST", path: "flr/{}/restore/{}/logs", class: read, why: howItWent},
	{product: "azure aws", method: "POST", path: "**/export", name: "*Export*", unless: credentials + "|" + rights, class: read, why: report},
	{product: "azure", method: "POST", path: "**/export", name: "AzureCosmosDb*|ProtectedCosmosDb*|CosmosDb*", class: read, why: report},
	{product: "azure aws", method: "POST", path: "**/estimate*|costEstimation|isNameTaken|getMetadata", class: read, why: look},
	{product: "aws", method: "POST", path: "**/validate|validateRestore*", class: read, why: checks},
	{product: "azure", method: "GET", path: "configuration/checkSession", class: read, why: describe},
	{product: "azure aws", method: "GET", path: "**/validate*|compareWithProduction", class: read, why: checks},
	{product: "aws", method: "GET", path: "policies/{}/export", class: read, why: "the settings of a policy"},
	{product: "azure aws", method: "GET", path: "jobSessions|sessions/{}/log", class: read, why: howItWent},
	{product: "azure aws", method: "POST", path: "policies|policy/**/enable|disable", class: run, why: onOff},
	{product: "azure", method: "POST", path: "cloudInfrastructure/sqlServers/testConnectivity/{}", class: run, why: "tests a configured connection"},
	{product: "azure", method: "POST", path: "policies/sql/testConfiguration", class: run, why: "tests a configured connection"},
	{product: "azure", method: "POST", path: "configuration/check", class: run, why: work},
	{product: "azure aws", method: "POST", path: "configurationBackup/backup", class: run, why: work},
	{product: "azure aws", method: "POST", path: "**/startManualBackup|takeSnapshot|startIndexing", class: run, why: work},
	{product: "azure aws", method: "POST", path: "cloudInfrastructure/buckets/rescan/{}", class: run, why: work},
	{product: "azure aws", method: "POST", path: "protectedItem|virtualMachines|rds/**/delete|delete*", class: destroy, why: removes},
	{product: "azure aws", method: "POST", path: "**/orderPriorities|resetCbt|resolve|accept|import|overrideOwnership|setWorkerDeploymentOptions|reset|setDefault", class: change, why: edits},
	{product: "azure aws", method: "POST", path: "protectedItem|restorePoints|vmRestorePoints|flr/**/restore|restore*|retrieveData|extendRetrievedDataAvailability", class: change, why: restores},
	{product: "azure", method: "POST", path: "cloudInfrastructure/storageAccounts/{}/containers", class: change, why: edits},
	{product: "azure", method: "GET", path: "configurationBackup/stats", class: read, why: describe},
	{product: "azure", method: "GET", path: "flr/{}/restore|search/{}/status|results", class: read, why: look},
	{product: "azure", method: "GET", path: "policy/slaBased/sla*/**", class: read, why: howItWent},
	{product: "azure", method: "GET", path: "system/privateDeployment|serviceIsUp/**", class: read, why: describe},
	{product: "aws", method: "GET", path: "cloudInfrastructure/buckets|tags/**", class: read, why: describe},
	{product: "aws", method: "GET", path: "virtualMachines|vmRestorePoints/**", class: read, why: describe},
	{product: "aws", method: "POST", path: "settings/dateTime|emailNotifications|retentionSettings", class: change, why: edits},
	{product: "aws", method: "POST", path: "settings/emailNotifications/sendTestMessage", class: change, why: elsewhere},
	{product: "aws", method: "POST", path: "licensing/license", class: change, why: edits},
	{product: "aws", method: "POST", path: "**/restoreFiles|startFlr", class: change, why: restores},
	{product: "aws", method: "POST", path: "test", class: change, why: "its effect is not documented"},

	// All products. The rows above have decided whatever is special.
	{fields: true, class: secret, why: "the documented answer has a field for a password, key or token"},
	{method: "DELETE", class: destroy, why: removes},
	{method: "POST", path: "**/" + working, unless: credentials + "|" + rights, class: run, why: work},
	{method: "POST", path: "**/rescan", class: run, why: work},
	{method: "GET", name: getter, unless: credentials + "|" + handsOut, class: read, why: describe},
	{method: "PUT PATCH", unless: credentials + "|" + rights, class: change, why: edits},
	{method: "POST", name: creator, unless: credentials + "|" + rights, class: change, why: edits},
}
