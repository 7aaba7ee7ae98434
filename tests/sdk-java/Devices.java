import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.twin.Twin;
import com.microsoft.azure.sdk.iot.provisioning.device.AdditionalData;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClient;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientRegistrationResult;
import com.microsoft.azure.sdk.iot.provisioning.device.ProvisioningDeviceClientTransportProtocol;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProvider;
import com.microsoft.azure.sdk.iot.provisioning.security.SecurityProviderSymmetricKey;
import com.microsoft.azure.sdk.iot.provisioning.security.hsm.SecurityProviderX509Cert;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** Devices with the provisioning device client and the device client. */
final class Devices {
    private static final Gson gson = new Gson();

    static JsonElement register(JsonObject asked) throws Exception {
        ProvisioningDeviceClient client = ProvisioningDeviceClient.create(
            Clients.text(asked, "host"),
            Clients.text(asked, "idScope"),
            switch (Clients.text(asked, "transport")) {
                case "http" -> ProvisioningDeviceClientTransportProtocol.HTTPS;
                case "mqtt" -> ProvisioningDeviceClientTransportProtocol.MQTT;
                default -> ProvisioningDeviceClientTransportProtocol.MQTT_WS;
            },
            securityOf(asked, Clients.text(asked, "registrationId")));
        try {
            AdditionalData additional = new AdditionalData();
            if (asked.has("payload")) additional.setProvisioningPayload(asked.get("payload").toString());
            ProvisioningDeviceClientRegistrationResult result = client.registerDeviceSync(additional);
            JsonObject answer = new JsonObject();
            answer.addProperty("status", result.getStatus());
            answer.addProperty("substatus", String.valueOf(result.getSubstatus()));
            answer.addProperty("assignedHub", result.getIothubUri());
            answer.addProperty("deviceId", result.getDeviceId());
            String payload = result.getProvisioningPayload();
            if (payload != null) answer.add("payload", JsonParser.parseString(payload));
            return answer;
        } finally {
            client.close();
        }
    }

    /** Connects, sends one message, reads the twin. A device that provisioned over HTTPS lives over MQTT. */
    static JsonElement useHub(JsonObject asked) throws Exception {
        String deviceId = Clients.text(asked, "deviceId");
        boolean inWebSocket = Clients.text(asked, "transport").equals("mqtt-ws");
        DeviceClient client = new DeviceClient(
            Clients.text(asked, "hub"),
            deviceId,
            securityOf(asked, deviceId),
            inWebSocket ? IotHubClientProtocol.MQTT_WS : IotHubClientProtocol.MQTT);
        client.open(false);
        try {
            client.sendEvent(new Message("{\"hello\":\"" + deviceId + "\"}"));
            // The client reads no twin before it has subscribed to its changes.
            client.subscribeToDesiredProperties((properties, context) -> {}, null);
            return gson.toJsonTree(twinOf(client).getDesiredProperties());
        } finally {
            client.close();
        }
    }

    /**
     * Asks again where the client hears nothing: of its two threads that handle an answer, the one that acknowledges it
     * may forget who asked before the other tells him: azure-iot-sdk-java issue 1803, seen once in sixty here.
     */
    private static Twin twinOf(DeviceClient client) throws Exception {
        for (int attempt = 1; ; attempt++) {
            try {
                return client.getTwin(3_000);
            } catch (IotHubClientException error) {
                boolean unheard = error.getStatusCode() == IotHubStatusCode.DEVICE_OPERATION_TIMED_OUT;
                if (!unheard || attempt == 5) throw error;
            }
        }
    }

    private static SecurityProvider securityOf(JsonObject asked, String registrationId) throws Exception {
        JsonObject credential = asked.getAsJsonObject("credential");
        byte[] key = Clients.text(credential, "key").getBytes(StandardCharsets.US_ASCII);
        if (Clients.text(credential, "kind").equals("sas")) return new SecurityProviderSymmetricKey(key, registrationId);
        List<X509Certificate> chain = new ArrayList<>();
        byte[] pem = Clients.text(credential, "cert").getBytes(StandardCharsets.US_ASCII);
        CertificateFactory certificates = CertificateFactory.getInstance("X.509");
        for (Certificate one : certificates.generateCertificates(new ByteArrayInputStream(pem)))
            chain.add((X509Certificate) one);
        X509Certificate leaf = chain.remove(0);
        // The client registers under the certificate's common name, unless its provider names another.
        return new SecurityProviderX509Cert(leaf, privateKey(Clients.text(credential, "key"), leaf), chain) {
            @Override
            public String getClientCertificateCommonName() {
                return registrationId;
            }
        };
    }

    private static PrivateKey privateKey(String pem, X509Certificate leaf) throws Exception {
        byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[A-Z ]+-----", ""));
        return KeyFactory.getInstance(leaf.getPublicKey().getAlgorithm()).generatePrivate(new PKCS8EncodedKeySpec(der));
    }
}
