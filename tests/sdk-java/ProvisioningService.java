import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.provisioning.service.ProvisioningServiceClient;
import com.microsoft.azure.sdk.iot.provisioning.service.Query;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.BulkOperationMode;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.EnrollmentGroup;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.IndividualEnrollment;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecification;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecificationBuilder;
import com.microsoft.azure.sdk.iot.provisioning.service.configs.QuerySpecificationBuilder.FromType;
import java.util.ArrayList;
import java.util.List;

/** An operator with the provisioning service client: one call of it for each verb, named as its method. */
final class ProvisioningService {
    private static final Gson gson = new Gson();

    static JsonElement call(JsonObject asked) throws Exception {
        ProvisioningServiceClient client =
            ProvisioningServiceClient.createFromConnectionString(Clients.text(asked, "connectionString"));
        String id = asked.has("name") ? Clients.text(asked, "name") : null;
        String etag = asked.has("etag") ? Clients.text(asked, "etag") : null;
        switch (Clients.text(asked, "do")) {
            case "createOrUpdateIndividualEnrollment":
                IndividualEnrollment enrollment = new IndividualEnrollment(asked.get("document").toString());
                return client.createOrUpdateIndividualEnrollment(enrollment).toJsonElement();
            case "getIndividualEnrollment":
                return client.getIndividualEnrollment(id).toJsonElement();
            case "getIndividualEnrollmentAttestationMechanism":
                return gson.toJsonTree(client.getIndividualEnrollmentAttestationMechanism(id));
            case "deleteIndividualEnrollment":
                client.deleteIndividualEnrollment(id, etag);
                return JsonNull.INSTANCE;
            case "runBulkEnrollmentOperation":
                List<IndividualEnrollment> enrollments = new ArrayList<>();
                for (JsonElement one : asked.getAsJsonArray("documents"))
                    enrollments.add(new IndividualEnrollment(one.toString()));
                BulkOperationMode mode = BulkOperationMode.valueOf(Clients.text(asked, "mode"));
                return JsonParser.parseString(client.runBulkEnrollmentOperation(mode, enrollments).toString());
            case "createIndividualEnrollmentQuery":
                return pagesOf(client.createIndividualEnrollmentQuery(all(FromType.ENROLLMENTS), 2));
            case "createOrUpdateEnrollmentGroup":
                EnrollmentGroup group = new EnrollmentGroup(asked.get("document").toString());
                return client.createOrUpdateEnrollmentGroup(group).toJsonElement();
            case "getEnrollmentGroup":
                return client.getEnrollmentGroup(id).toJsonElement();
            case "deleteEnrollmentGroup":
                client.deleteEnrollmentGroup(id, etag);
                return JsonNull.INSTANCE;
            case "createEnrollmentGroupQuery":
                return pagesOf(client.createEnrollmentGroupQuery(all(FromType.ENROLLMENT_GROUPS), 2));
            case "getDeviceRegistrationState":
                return gson.toJsonTree(client.getDeviceRegistrationState(id));
            case "deleteDeviceRegistrationState":
                client.deleteDeviceRegistrationState(id);
                return JsonNull.INSTANCE;
            case "createEnrollmentGroupRegistrationStateQuery":
                QuerySpecification records = all(FromType.DEVICE_REGISTRATIONS);
                return pagesOf(client.createEnrollmentGroupRegistrationStateQuery(records, id, 2));
            default:
                throw new IllegalArgumentException(asked.toString());
        }
    }

    private static QuerySpecification all(FromType from) {
        return new QuerySpecificationBuilder("*", from).createSqlQuery();
    }

    private static JsonArray pagesOf(Query query) {
        JsonArray pages = new JsonArray();
        while (query.hasNext()) {
            JsonArray page = new JsonArray();
            for (Object item : query.next().getItems()) page.add(gson.toJsonTree(item));
            pages.add(page);
        }
        return pages;
    }
}
